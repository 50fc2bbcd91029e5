//! What requests ask, written as whole HTTP/1.1 requests.
//!
//! Prompts are stretches of one text of seeded words, so that writing a request costs one copy.

use std::io::Write;

use crate::load::plan::{Plan, Work};

/// Bytes of text beyond the longest prompt, so that stretches differ.
const SPARE: usize = 1 << 16;

/// Writes the requests of one run.
pub(crate) struct Writer {
    work: Work,
    text: Vec<u8>,
    random: Random,
    number: u64,
    head: String,
    start: String,
    end: String,
}

impl Writer {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random(plan.seed);
        let longest = match plan.work {
            Work::Unique { bytes } => bytes,
            Work::SharedPrefix { prefix, own, .. } => prefix.max(own),
        };
        let mut text = Vec::with_capacity(longest + SPARE + 16);
        while text.len() < longest + SPARE {
            let letters = 2 + random.below(8);
            for _ in 0..letters {
                let letter = u8::try_from(random.below(26)).unwrap_or(0);
                text.push(b'a' + letter);
            }
            text.push(b' ');
        }
        Self {
            work: plan.work,
            text,
            random,
            number: 0,
            head: format!(
                "POST /v1/completions HTTP/1.1\r\nhost: {}\r\naccept: */*\r\nuser-agent: pointsman-bench\r\ncontent-type: application/json\r\ncontent-length: ",
                plan.target
            ),
            start: format!("{{\"model\":\"{}\",\"prompt\":\"", plan.model),
            end: format!(
                "\",\"max_tokens\":{},\"stream\":{}}}",
                plan.max_tokens, plan.stream
            ),
        }
    }

    /// Writes the next request to `out`, in place of what was there.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        self.number += 1;
        let stamp = format!("{:016x} ", self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (shared, stamp, own) = match self.work {
            Work::Unique { bytes } => {
                let stamp = &stamp[..bytes.min(stamp.len())];
                let own = self.random.below(SPARE);
                (0..0, stamp, own..own + bytes - stamp.len())
            }
            Work::SharedPrefix {
                prefix,
                groups,
                own,
            } => {
                // Groups begin far enough apart to differ from the first bytes on.
                let group = self.random.below(groups.max(1)) * 997 % SPARE;
                let stamp = &stamp[..own.min(stamp.len())];
                let rest = self.random.below(SPARE);
                (group..group + prefix, stamp, rest..rest + own - stamp.len())
            }
        };
        let length = self.start.len() + shared.len() + stamp.len() + own.len() + self.end.len();
        out.clear();
        let _ = write!(out, "{}{length}\r\n\r\n{}", self.head, self.start);
        out.extend_from_slice(&self.text[shared]);
        out.extend_from_slice(stamp.as_bytes());
        out.extend_from_slice(&self.text[own]);
        out.extend_from_slice(self.end.as_bytes());
    }
}

/// SplitMix64: seeded, and far cheaper than what it is used for.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = z ^ (z >> 31);
        // The bias of a remainder is far below what prompts can notice.
        usize::try_from(z % limit.max(1) as u64).unwrap_or(0)
    }
}
