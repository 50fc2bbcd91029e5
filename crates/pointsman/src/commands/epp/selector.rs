//! Whether a text is a label selector as the API server reads one, so that a slip is told at the start and not by a list
//! that is asked for again and again.
//!
//! `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, `a>1`, `a<1`; several with commas between.

/// What is wrong with a selector; nothing is wrong with an empty one.
///
/// # Errors
/// The first thing that is, and where.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Ok(());
    }
    loop {
        rest = requirement(rest)?.trim_start();
        if rest.is_empty() {
            return Ok(());
        }
        rest = rest
            .strip_prefix(',')
            .ok_or_else(|| format!("a comma is missing before '{rest}'"))?;
    }
}

/// Reads one requirement; what follows it.
fn requirement(text: &str) -> Result<&str, String> {
    let text = text.trim_start();
    if let Some(absent) = text.strip_prefix('!') {
        let (name, rest) = word(absent);
        return key(name).map(|()| rest);
    }
    let (name, rest) = word(text);
    key(name)?;
    let rest = rest.trim_start();
    for operator in ["==", "!=", "=", ">", "<"] {
        let Some(after) = rest.strip_prefix(operator) else {
            continue;
        };
        let (found, rest) = word(after);
        value(found)?;
        if matches!(operator, ">" | "<") && found.parse::<i64>().is_err() {
            return Err(format!("'{found}' is no whole number"));
        }
        return Ok(rest);
    }
    match word(rest) {
        ("in" | "notin", after) => values(after),
        ("", rest) => Ok(rest),
        (other, _) => Err(format!("'{other}' after '{name}' is no operator")),
    }
}

/// Reads a list of values in brackets; what follows it.
fn values(text: &str) -> Result<&str, String> {
    let list = text.trim_start().strip_prefix('(');
    let split = list.and_then(|list| list.split_once(')'));
    let (list, rest) = split.ok_or("in and notin need values in brackets: in (a,b)")?;
    for found in list.split(',') {
        value(found.trim())?;
    }
    Ok(rest)
}

/// The next word, which may be empty, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let ends = |c: char| c.is_whitespace() || "=!<>,()".contains(c);
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// Whether a text can be the key of a label: a name, after a host and a slash or not.
fn key(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the name of a label is missing".to_owned());
    }
    let (host, name) = match text.split_once('/') {
        Some((host, name)) => (Some(host), name),
        None => (None, text),
    };
    let is_host = |host: &str| host.len() <= 253 && host.split('.').all(is_dns_label);
    match !name.is_empty() && is_name(name) && host.is_none_or(is_host) {
        true => Ok(()),
        false => Err(format!("'{text}' is no name of a label")),
    }
}

/// Whether a text can be the value of a label.
fn value(text: &str) -> Result<(), String> {
    match text.is_empty() || is_name(text) {
        true => Ok(()),
        false => Err(format!("'{text}' is no value of a label")),
    }
}

fn is_name(text: &str) -> bool {
    let bare = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && bare(bytes.first()) && bare(bytes.last()) && bytes.iter().all(fits)
}

/// Whether a text can be the name of a namespace, or a part of a host's name (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    is_name(text) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_takes_is_taken() {
        for text in [
            "",
            "app=x",
            "app == x , tier!=y",
            "llm-d.ai/role=decode",
            "a=",
            "a",
            "!a",
            "a, !b,c in (d, e),f notin (g)",
            "in in (a)",
            "a>1,b<2",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_it_refuses_is_refused() {
        for (text, expected) in [
            ("b==,,c", "the name of a label is missing"),
            ("a=b,", "the name of a label is missing"),
            ("=b", "the name of a label is missing"),
            ("a=b c", "a comma is missing before 'c'"),
            ("a b", "'b' after 'a' is no operator"),
            ("a in b", "in and notin need values in brackets"),
            ("a in (b", "in and notin need values in brackets"),
            ("-a=b", "'-a' is no name of a label"),
            ("A_b/c=d", "'A_b/c' is no name of a label"),
            ("a=b/c", "'b/c' is no value of a label"),
            ("a>b", "'b' is no whole number"),
            ("a===b", "a comma is missing before '=b'"),
        ] {
            let found = check(text).err().unwrap_or_default();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
