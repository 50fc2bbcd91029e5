//! What the gateway notes of an exchange: which endpoints may be picked, and which one served.

use std::net::{IpAddr, SocketAddr};

use crate::extproc::messages::{Kind, Metadata, Value};
use crate::extproc::names::{LB, SERVED, SUBSET, SUBSET_HINT};

/// The endpoints that may be picked: addresses, or hosts with any port. An empty one allows nobody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subset {
    /// In order, so that a look takes few steps however many there are.
    members: Vec<(IpAddr, Option<u16>)>,
}

impl Subset {
    /// The hint, if there is one. Members that are no text or no address are passed over.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let hint = metadata.filter_metadata.get(SUBSET_HINT)?;
        let named = hint.fields.get(SUBSET)?;
        let values: &[Value] = match &named.kind {
            Some(Kind::List(list)) => &list.values,
            _ => &[],
        };
        let members = values.iter().filter_map(|value| match &value.kind {
            Some(Kind::Text(text)) => member(text.trim()),
            _ => None,
        });
        let mut members: Vec<_> = members.collect();
        members.sort_unstable();
        members.dedup();
        Some(Self { members })
    }

    /// Whether an endpoint may be picked.
    pub fn allows(&self, address: SocketAddr) -> bool {
        let named = |port| self.members.binary_search(&(address.ip(), port)).is_ok();
        named(Some(address.port())) || named(None)
    }
}

fn member(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok().map(|ip| (ip, None))
}

/// What the gateway has said of the endpoint that served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Whether it has said anything of its balancing.
    balanced: bool,
    text: Option<Box<str>>,
}

impl Served {
    /// Takes note of what a message says; what it does not say stays as it was.
    pub fn note(&mut self, metadata: &Metadata) {
        let Some(told) = metadata.filter_metadata.get(LB) else {
            return;
        };
        self.balanced = true;
        if let Some(Kind::Text(text)) = told.fields.get(SERVED).and_then(|t| t.kind.as_ref()) {
            self.text = Some(text.trim().into());
        }
    }

    /// The endpoint, if it is told as an address.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.text.as_deref()?.parse().ok()
    }

    /// What conformance tests are told: the endpoint, or what is missing.
    pub fn words(&self) -> String {
        match &self.text {
            Some(text) => text.to_string(),
            None if self.balanced => {
                "fail: missing destination endpoint served metadata".to_owned()
            }
            None => "fail: missing envoy lb metadata".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::extproc::messages::{ListValue, Struct};

    fn hint(value: Value) -> Metadata {
        let hint = Struct::of([(SUBSET, value)]);
        Metadata {
            filter_metadata: [(SUBSET_HINT.to_owned(), hint)].into(),
        }
    }

    fn list(values: &[Value]) -> Value {
        Value {
            kind: Some(Kind::List(ListValue {
                values: values.to_vec(),
            })),
        }
    }

    #[test]
    fn ports_count_where_they_are_given() {
        let values = ["10.0.0.1:8000", "10.0.0.2", "[::1]:9", "nonsense", ""];
        let mut values: Vec<Value> = values.map(Value::text).to_vec();
        values.push(Value::number(1.0));
        let subset = Subset::of(&hint(list(&values))).unwrap();
        for (address, allowed) in [
            ("10.0.0.1:8000", true),
            ("10.0.0.1:8001", false),
            ("10.0.0.2:1", true),
            ("[::1]:9", true),
            ("[::1]:8", false),
            ("10.0.0.3:8000", false),
        ] {
            assert_eq!(
                subset.allows(address.parse().unwrap()),
                allowed,
                "{address}"
            );
        }
    }

    #[test]
    fn no_hint_is_not_an_empty_one() {
        assert_eq!(Subset::of(&Metadata::default()), None);
        let any: SocketAddr = "10.0.0.1:1".parse().unwrap();
        assert!(!Subset::of(&hint(list(&[]))).unwrap().allows(any));
        assert!(
            !Subset::of(&hint(Value::text("10.0.0.1:1")))
                .unwrap()
                .allows(any)
        );
    }

    #[test]
    fn who_served_is_read_from_the_balancer_s_metadata() {
        let told = Struct::of([(SERVED, Value::text("10.0.0.1:8000"))]);
        let metadata = Metadata {
            filter_metadata: [(LB.to_owned(), told)].into(),
        };
        let mut served = Served::default();
        served.note(&Metadata::default());
        assert_eq!(served.endpoint(), None);
        assert_eq!(served.words(), "fail: missing envoy lb metadata");
        served.note(&Metadata {
            filter_metadata: [(LB.to_owned(), Struct::default())].into(),
        });
        let missing = "fail: missing destination endpoint served metadata";
        assert_eq!(
            (served.endpoint(), served.words().as_str()),
            (None, missing)
        );
        served.note(&metadata);
        served.note(&Metadata::default());
        assert_eq!(served.endpoint(), Some("10.0.0.1:8000".parse().unwrap()));
        assert_eq!(served.words(), "10.0.0.1:8000");
    }
}
