//! Members of members that scheduling reads: `stream_options`, and what vLLM's own `generate` has.

use crate::json::fault::JsonFault;
use crate::json::scanner::{Kind, Scanner};

type Read<T> = Result<T, JsonFault>;

/// Walks the members of the object that follows; `member` reads the value of a key, or leaves it and says so. Any other
/// value is skipped.
fn members<'a, F: AsRef<[u8]>>(
    scanner: &mut Scanner<'a, F>,
    mut member: impl FnMut(&mut Scanner<'a, F>, &[u8], Kind) -> Read<bool>,
) -> Read<()> {
    if scanner.kind()? != Kind::Object {
        scanner.skip_value()?;
        return Ok(());
    }
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let key = scanner.key_bytes(&key);
        let kind = scanner.kind()?;
        if !member(scanner, key.as_ref(), kind)? {
            scanner.skip_value()?;
        }
    }
    Ok(())
}

/// Whether `stream_options` asks for the usage.
pub(crate) fn include_usage<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<bool> {
    let mut include = false;
    members(scanner, |scanner, key, kind| {
        let ours = key == b"include_usage" && kind == Kind::Bool;
        if ours {
            include = scanner.boolean()?;
        }
        Ok(ours)
    })?;
    Ok(include)
}

/// The bound on output tokens in `sampling_params`, if it is a whole number.
pub(crate) fn sampled_tokens<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Option<u32>> {
    let mut most = None;
    members(scanner, |scanner, key, kind| {
        let ours = key == b"max_tokens" && kind == Kind::Number;
        if ours {
            let range = scanner.number()?;
            let digits = scanner.bytes(&range);
            most = std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| digits.parse().ok());
        }
        Ok(ours)
    })?;
    Ok(most)
}

/// Whether `features` says that some token ids stand for images and the like.
pub(crate) fn has_features<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<bool> {
    let mut any = false;
    members(scanner, |scanner, key, kind| {
        let ours = key == b"mm_hashes" && kind == Kind::Object;
        if ours {
            let mut first = true;
            scanner.enter_object()?;
            while scanner.next_key(&mut first)?.is_some() {
                any = true;
                scanner.skip_value()?;
            }
        }
        Ok(ours)
    })?;
    Ok(any)
}
