//! Addresses to which nothing is ever sent, whoever lists them.
//!
//! A list of endpoints comes from people and programs that may be wrong or made to be: behind a link-local address a cloud
//! answers with its machines' credentials. Loopback stays allowed, because labs and sidecars stand there.

use std::net::{IpAddr, Ipv6Addr};

/// What is wrong with an address as an endpoint's, if anything is.
pub fn refused(ip: IpAddr) -> Option<&'static str> {
    // An IPv4 address written as IPv6 is the same place.
    match ip.to_canonical() {
        ip if ip.is_unspecified() => Some("stands for any address"),
        ip if ip.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(ip) if ip.is_link_local() => Some(LINK_LOCAL),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() || ip == METADATA => Some(LINK_LOCAL),
        _ => None,
    }
}

const LINK_LOCAL: &str =
    "is a link-local address, where clouds keep the credentials of their machines";

/// Where a large cloud answers over IPv6 what it answers on 169.254.169.254.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_places_where_an_engine_can_stand_are_taken() {
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "8.8.8.8",
            "2001:db8::1",
        ] {
            assert_eq!(refused(address.parse().unwrap()), None, "{address}");
        }
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(refused(address.parse().unwrap()).is_some(), "{address}");
        }
    }
}
