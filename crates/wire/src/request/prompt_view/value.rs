//! A JSON value as Go writes it after reading it into an untyped value: no white space, the keys of an object in
//! order, the last of equal keys, numbers as 64-bit floats.
//!
//! Nothing is built: the members of an object are noted, sorted and read again one by one. Values that are nested
//! deeper than [`DEEPEST`] are handed over as they stand, so that no body costs more than that many readings.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::json::scanner::{Kind, Scanner};
use crate::json::text::Str;
use crate::request::prompt_view::outlet::{Flow, Outlet, Sink, valid};
use crate::request::prompt_view::string::quoted;

/// Levels of objects and lists that are written anew.
const DEEPEST: usize = 16;

/// Writes the value that starts at an absolute offset.
pub(crate) fn value<F: AsRef<[u8]>>(frames: &[F], at: usize, out: &mut Outlet<'_>) -> Flow {
    next_value(frames, &mut Scanner::at(frames, at), 0, out)
}

fn next_value<'a, F: AsRef<[u8]>>(
    frames: &'a [F],
    scanner: &mut Scanner<'a, F>,
    depth: usize,
    out: &mut Outlet<'_>,
) -> Flow {
    match valid(scanner.kind())? {
        Kind::Object | Kind::List if depth == DEEPEST => {
            let range = valid(scanner.skip_value())?;
            out.run(&scanner.bytes(&range))
        }
        Kind::Object => object(frames, scanner, depth, out),
        Kind::List => {
            out.run(b"[")?;
            valid(scanner.enter_list())?;
            let mut first = true;
            let mut comma: &[u8] = b"";
            while valid(scanner.next_element(&mut first))? {
                out.run(std::mem::replace(&mut comma, b","))?;
                next_value(frames, scanner, depth + 1, out)?;
            }
            out.run(b"]")
        }
        Kind::Str => {
            let text = valid(scanner.string())?;
            quoted(frames, &text, out)
        }
        Kind::Number => {
            let range = valid(scanner.number())?;
            number(&scanner.bytes(&range), out)
        }
        Kind::Bool | Kind::Null => {
            let range = valid(scanner.skip_value())?;
            out.run(&scanner.bytes(&range))
        }
    }
}

/// A member of an object: its key as it sorts, the key, and the scanner in front of its value.
type Member<'a, F> = (Cow<'a, str>, Str<'a>, Scanner<'a, F>);

fn object<'a, F: AsRef<[u8]>>(
    frames: &'a [F],
    scanner: &mut Scanner<'a, F>,
    depth: usize,
    out: &mut Outlet<'_>,
) -> Flow {
    let mut members: SmallVec<[Member<'a, F>; 8]> = SmallVec::new();
    let mut first = true;
    valid(scanner.enter_object())?;
    while let Some(key) = valid(scanner.next_key(&mut first))? {
        let value = scanner.clone();
        valid(scanner.skip_value())?;
        members.push((scanner.text(&key), key, value));
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    out.run(b"{")?;
    let mut comma: &[u8] = b"";
    for (at, (name, key, value)) in members.iter().enumerate() {
        if members.get(at + 1).is_some_and(|next| next.0 == *name) {
            continue;
        }
        out.run(std::mem::replace(&mut comma, b","))?;
        quoted(frames, key, out)?;
        out.run(b":")?;
        next_value(frames, &mut value.clone(), depth + 1, out)?;
    }
    out.run(b"}")
}

/// A number as Go writes a 64-bit float.
fn number(digits: &[u8], out: &mut Outlet<'_>) -> Flow {
    // A whole number that a float holds exactly is written as it was.
    if digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit) {
        return out.run(digits);
    }
    let parsed = std::str::from_utf8(digits)
        .ok()
        .and_then(|d| d.parse().ok());
    let value: f64 = match parsed {
        Some(value) if f64::is_finite(value) => value,
        // Too large for Go to read; the engine judges it.
        _ => return out.run(digits),
    };
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let written = format!("{value:e}");
        return match written.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => {
                out.run(mantissa.as_bytes())?;
                out.run(b"e+")?;
                out.run(exponent.as_bytes())
            }
            _ => out.run(written.as_bytes()),
        };
    }
    out.run(format!("{value}").as_bytes())
}
