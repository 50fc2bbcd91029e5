//! The place of a request in a trace, as the header `traceparent` (W3C Trace Context) carries it.

use std::fmt::Write as _;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// A span's place in a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The trace; not zero.
    pub trace: u128,
    /// The span; not zero.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl Context {
    /// Reads a header's value. Later versions than the first may say more behind what is read here.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let hex = |range: std::ops::Range<usize>| {
            let part = text.get(range)?;
            let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            part.bytes().all(plain).then_some(part)
        };
        let dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
        if !(dash(2) && dash(35) && dash(52)) {
            return None;
        }
        match hex(0..2)? {
            "ff" => return None,
            "00" if text.len() != 55 => return None,
            _ if text.len() > 55 && !dash(55) => return None,
            _ => {}
        }
        let trace = u128::from_str_radix(hex(3..35)?, 16).ok()?;
        let span = u64::from_str_radix(hex(36..52)?, 16).ok()?;
        let flags = u8::from_str_radix(hex(53..55)?, 16).ok()?;
        (trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The header's value.
    pub fn header(&self) -> String {
        let mut text = String::with_capacity(55);
        let (trace, span, flags) = (self.trace, self.span, u8::from(self.sampled));
        // Writing into a string does not fail.
        let _ = write!(text, "00-{trace:032x}-{span:016x}-{flags:02x}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_the_standard_allows_is_read() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = Context::read(good);
        assert_eq!(read.map(|context| context.header()).as_deref(), Some(good));
        assert!(read.is_some_and(|context| context.sampled));
        let later = good.replace("00-4b", "cc-4b");
        assert!(Context::read(&later).is_some());
        assert!(Context::read(&format!("{later}-more")).is_some());
        for bad in [
            "",
            "00",
            &format!("{good}-more"),
            &format!("{later}more"),
            &good.replace("00-4b", "ff-4b"),
            &good.replace("4b", "4B"),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace('-', "_"),
            &good[..54],
            "00-ü",
        ] {
            assert_eq!(Context::read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_no_text_breaks_the_reader(trace in 1u128.., span in 1u64.., sampled: bool, text in ".{0,60}") {
            let context = Context { trace, span, sampled };
            prop_assert_eq!(Context::read(&context.header()), Some(context));
            let _ = Context::read(&text);
        }
    }
}
