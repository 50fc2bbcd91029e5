//! Which values the fields take, where no API server has refused the others already.

use crate::spec::invalid::Invalid;
use crate::spec::written::Labels;

/// A number of pods.
pub(crate) fn replicas(field: &str, given: Option<i32>, default: i32) -> Result<i32, Invalid> {
    match given.unwrap_or(default) {
        n if n >= 1 => Ok(n),
        n => Err(Invalid::value(format!(
            "{field} is {n} and must be at least 1"
        ))),
    }
}

/// A port.
pub(crate) fn port(field: &str, given: Option<i32>, default: u16) -> Result<u16, Invalid> {
    let Some(given) = given else {
        return Ok(default);
    };
    u16::try_from(given)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            Invalid::value(format!(
                "{field} is {given} and must be between 1 and 65535"
            ))
        })
}

/// The picker's port, beside which health and metrics need their own.
pub(crate) fn picker_port(given: Option<i32>, default: u16) -> Result<u16, Invalid> {
    match port("spec.epp.port", given, default)? {
        9089 | 9090 => Err(Invalid::value(
            "spec.epp.port must not be 9089 or 9090: metrics are on 9090, health on the port after this one",
        )),
        65535 => Err(Invalid::value(
            "spec.epp.port must be at most 65534, since health is on the next port",
        )),
        port => Ok(port),
    }
}

/// A word out of a closed list.
pub(crate) fn one_of<'a>(field: &str, given: &str, words: &[&'a str]) -> Result<&'a str, Invalid> {
    words
        .iter()
        .copied()
        .find(|word| *word == given)
        .ok_or_else(|| {
            Invalid::value(format!(
                "{field} is '{given}' and must be one of {}",
                words.join(", ")
            ))
        })
}

/// A name that a Service or label can have.
pub(crate) fn label_name(field: &str, name: String) -> Result<String, Invalid> {
    named(
        field,
        name,
        63,
        "a DNS label: lower case letters, digits and '-'",
        |c| c == b'-',
    )
}

/// A name that an object can have.
pub(crate) fn object_name(field: &str, name: String) -> Result<String, Invalid> {
    let form = "a DNS name: lower case letters, digits, '-' and '.'";
    named(field, name, 253, form, |c| c == b'-' || c == b'.')
}

/// Labels, as a selector wants them.
pub(crate) fn selector(field: &str, labels: &Labels) -> Result<(), Invalid> {
    let plain = |text: &str| {
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let inner = |c: &u8| c.is_ascii_alphanumeric() || b"-_.".contains(c);
        bytes.len() <= 63
            && bytes.iter().all(inner)
            && ends
                .iter()
                .all(|end| end.is_none_or(u8::is_ascii_alphanumeric))
    };
    for (name, value) in labels {
        let (domain, last) = match name.split_once('/') {
            Some((domain, last)) => (Some(domain), last),
            None => (None, name.as_str()),
        };
        let domain = domain.is_none_or(|it| object_name(field, it.to_owned()).is_ok());
        if !domain || last.is_empty() || !plain(last) {
            return Err(Invalid::value(format!(
                "{field} has '{name}', which is no label name: letters, digits, '-', '_' and '.', at most 63, after a domain and '/' if need be"
            )));
        }
        if !plain(value) {
            return Err(Invalid::value(format!(
                "{field}.{name} is '{value}' and must be a label value: letters, digits, '-', '_' and '.', at most 63 long, beginning and ending with a letter or digit"
            )));
        }
    }
    Ok(())
}

/// A number that may be 0.
pub(crate) fn count(field: &str, given: Option<i32>, default: i32) -> Result<i32, Invalid> {
    match given.unwrap_or(default) {
        n if n >= 0 => Ok(n),
        n => Err(Invalid::value(format!(
            "{field} is {n} and must be 0 or more"
        ))),
    }
}

fn named(
    field: &str,
    name: String,
    longest: usize,
    form: &str,
    inner: impl Fn(u8) -> bool,
) -> Result<String, Invalid> {
    let bytes = name.as_bytes();
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = [bytes.first(), bytes.last()];
    let good = bytes.len() <= longest
        && ends.iter().all(|end| end.is_some_and(|c| plain(*c)))
        && bytes.iter().all(|c| plain(*c) || inner(*c));
    if good {
        return Ok(name);
    }
    Err(Invalid::value(format!(
        "{field} is '{name}' and must be {form}, at most {longest} long, beginning and ending with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_have_their_bounds() {
        assert_eq!(port("p", None, 80), Ok(80));
        for bad in [0, -1, 65536, 70000] {
            assert!(
                port("p", Some(bad), 80)
                    .unwrap_err()
                    .message
                    .contains("between 1 and 65535")
            );
        }
        for bad in [9089, 9090, 65535] {
            assert!(picker_port(Some(bad), 1).is_err(), "{bad}");
        }
        assert_eq!(picker_port(Some(65534), 1), Ok(65534));
    }

    #[test]
    fn selectors_have_their_form() {
        let of = |name: &str, value: &str| {
            selector("s", &Labels::from([(name.to_owned(), value.to_owned())]))
        };
        for (name, value) in [("a", ""), ("llm-d.ai/role", "decode"), ("A_b", "x.Y-z")] {
            assert_eq!(of(name, value), Ok(()));
        }
        for (name, value) in [
            ("", "a"),
            ("a", "b c"),
            ("a", "-b"),
            ("a/b/c", "d"),
            ("/a", "b"),
            ("a", &"b".repeat(64)),
        ] {
            assert!(of(name, value).unwrap_err().message.starts_with('s'));
        }
    }

    #[test]
    fn names_have_their_form() {
        for good in ["a", "a-b", "9a"] {
            assert!(label_name("n", good.to_owned()).is_ok());
        }
        for bad in ["", "A", "-a", "a-", "a.b", "a_b", &"a".repeat(64)] {
            assert!(label_name("n", bad.to_owned()).is_err(), "{bad}");
        }
        assert!(object_name("n", "a.b".to_owned()).is_ok());
    }
}
