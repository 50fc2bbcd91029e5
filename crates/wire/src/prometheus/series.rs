//! One line of exposition text: labels, value and timestamp behind a name.

/// What follows the name on a line.
pub(crate) struct Series<'a> {
    /// What stands between the braces.
    labels: &'a [u8],
    pub(crate) value: f64,
    pub(crate) stamp: Option<f64>,
}

impl<'a> Series<'a> {
    /// Reads the rest of a line: labels, value, perhaps a timestamp, perhaps an exemplar.
    pub(crate) fn parse(rest: &'a [u8]) -> Option<Self> {
        let (labels, rest) = match rest.strip_prefix(b"{") {
            Some(inside) => {
                let end = labels_end(inside)?;
                (&inside[..end], &inside[end + 1..])
            }
            None => (&[][..], rest),
        };
        let mut words = rest
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let value = number(words.next()?)?;
        let stamp = match words.next() {
            None => None,
            Some(word) if word.starts_with(b"#") => None,
            Some(word) => Some(number(word).filter(|stamp| stamp.is_finite())?),
        };
        Some(Self {
            labels,
            value,
            stamp,
        })
    }

    /// The value of a label as written, escapes not undone.
    pub(crate) fn label(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.labels;
        loop {
            let equals = memchr::memchr(b'=', rest)?;
            let found = rest[..equals].trim_ascii();
            let value = rest[equals + 1..].trim_ascii_start().strip_prefix(b"\"")?;
            let end = quote_end(value)?;
            if found == name.as_bytes() {
                return Some(&value[..end]);
            }
            rest = value[end + 1..].trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest);
        }
    }
}

/// Where the brace that closes the labels stands, quotes respected.
fn labels_end(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'}', &inside[at..])?;
        if inside[at] == b'}' {
            return Some(at);
        }
        at += 1;
        at += quote_end(&inside[at..])? + 1;
    }
}

/// Where the quote that ends a label value stands.
fn quote_end(value: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', value.get(at..)?)?;
        if value[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// A number in any spelling, NaN and infinities included.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a line is a sample at all, of whatever name.
pub(crate) fn is_sample(line: &[u8]) -> bool {
    let name = line
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
        .count();
    if name == 0 || line[0].is_ascii_digit() {
        return false;
    }
    let rest = &line[name..];
    if !matches!(rest.first(), Some(b'{' | b' ' | b'\t')) {
        return false;
    }
    Series::parse(rest).is_some()
}
