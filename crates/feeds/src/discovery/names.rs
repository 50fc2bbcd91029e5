//! DNS names of endpoints and the addresses they stand for.
//!
//! A name that cannot be looked up keeps the addresses it had: a resolver that fails must not empty a pool. An address
//! keeps its number as long as the name has it, so that the others keep their members when one goes.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::discovery::address::refused;
use crate::membership::Member;

/// Longest time for one name.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names that are looked up at the same time; each takes a thread.
const AT_ONCE: usize = 32;

/// An endpoint whose address may still be a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Unresolved {
    /// Full name.
    pub name: String,
    /// IP address or DNS name.
    pub host: String,
    /// Port of the endpoint.
    pub port: u16,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

type Name = (String, u16);

/// What is known of names.
#[derive(Debug, Default)]
pub struct Names {
    /// The addresses of a name by their number; a number whose address has gone is free.
    known: HashMap<Name, Vec<Option<SocketAddr>>>,
}

impl Names {
    /// Turns names into addresses. A name with several addresses gives a member for each, named `<name>` for the first
    /// and `<name>-1`, `<name>-2`, … for the others. Names that could not be looked up are returned beside the members.
    pub async fn resolve(&mut self, found: &[Unresolved]) -> (Vec<Member>, Vec<String>) {
        let mut unknown = self.look_up(found).await;
        let nowhere = |entry: &&Unresolved| entry.host.parse().ok().and_then(refused).is_some();
        unknown.extend(found.iter().filter(nowhere).map(|entry| entry.host.clone()));
        (self.members(found), unknown)
    }

    async fn look_up(&mut self, found: &[Unresolved]) -> Vec<String> {
        let mut names: Vec<Name> = found
            .iter()
            .filter(|entry| entry.host.parse::<IpAddr>().is_err())
            .map(|entry| (entry.host.clone(), entry.port))
            .collect();
        names.sort_unstable();
        names.dedup();
        self.known
            .retain(|name, _| names.binary_search(name).is_ok());
        let mut unknown = Vec::new();
        let mut waiting = names.into_iter();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < AT_ONCE
                && let Some(name) = waiting.next()
            {
                asked.spawn(addresses(name));
            }
            match asked.join_next().await {
                None => break,
                Some(Ok((name, addresses))) if addresses.is_empty() => unknown.push(name.0),
                Some(Ok((name, addresses))) => {
                    renew(self.known.entry(name).or_default(), addresses)
                }
                Some(Err(_)) => {}
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    fn members(&self, found: &[Unresolved]) -> Vec<Member> {
        let mut members = Vec::new();
        for entry in found {
            let mut add = |name: String, address: SocketAddr| {
                let labels = entry.labels.iter();
                members.push(Member {
                    name,
                    address,
                    labels: labels.map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                });
            };
            if let Ok(ip) = entry.host.parse::<IpAddr>() {
                if refused(ip).is_none() {
                    add(entry.name.clone(), SocketAddr::new(ip, entry.port));
                }
                continue;
            }
            let known = self.known.get(&(entry.host.clone(), entry.port));
            for (number, address) in known.into_iter().flatten().enumerate() {
                if let Some(address) = *address {
                    let name = match number {
                        0 => entry.name.clone(),
                        n => format!("{}-{n}", entry.name),
                    };
                    add(name, address);
                }
            }
        }
        members
    }
}

/// The addresses of a name in order; none if there is no answer.
async fn addresses(name: Name) -> (Name, Vec<SocketAddr>) {
    let look = async {
        let found = tokio::net::lookup_host((name.0.as_str(), name.1)).await;
        found.map(Vec::from_iter).unwrap_or_default()
    };
    let mut addresses = timeout(PATIENCE, look).await.unwrap_or_default();
    // A name may lead anywhere.
    addresses.retain(|address| refused(address.ip()).is_none());
    addresses.sort_unstable();
    addresses.dedup();
    (name, addresses)
}

/// Who is still there keeps its number; who is new takes the lowest that is free.
fn renew(known: &mut Vec<Option<SocketAddr>>, mut found: Vec<SocketAddr>) {
    for place in known.iter_mut() {
        match place.and_then(|old| found.iter().position(|new| *new == old)) {
            Some(at) => {
                found.remove(at);
            }
            None => *place = None,
        }
    }
    for address in found {
        match known.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(address),
            None => known.push(Some(address)),
        }
    }
    while known.last().is_some_and(Option::is_none) {
        known.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    fn entry(host: &str) -> Unresolved {
        Unresolved {
            name: "default/a".to_owned(),
            host: host.to_owned(),
            port: 80,
            labels: [].into(),
        }
    }

    #[test]
    fn addresses_keep_their_numbers() {
        let mut known = Vec::new();
        renew(&mut known, vec![at(1), at(2), at(3)]);
        renew(&mut known, vec![at(2), at(3)]);
        assert_eq!(known, [None, Some(at(2)), Some(at(3))]);
        renew(&mut known, vec![at(2), at(7), at(8)]);
        assert_eq!(known, [Some(at(7)), Some(at(2)), Some(at(8))]);
        renew(&mut known, vec![at(7)]);
        assert_eq!(known, [Some(at(7))]);
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_keeps_what_it_had() {
        let mut names = Names::default();
        let host = "no-such-host.invalid";
        names
            .known
            .insert((host.to_owned(), 80), vec![Some(at(1)), None, Some(at(3))]);
        let (members, unknown) = names.resolve(&[entry(host), entry("10.0.0.9")]).await;
        let named: Vec<_> = members
            .iter()
            .map(|m| (m.name.as_str(), m.address))
            .collect();
        assert_eq!(
            named,
            [
                ("default/a", at(1)),
                ("default/a-2", at(3)),
                ("default/a", at(9))
            ]
        );
        assert_eq!(unknown, [host]);
        // Names that no entry has are forgotten.
        assert!(names.resolve(&[]).await.0.is_empty());
        assert!(names.known.is_empty());
    }
}
