//! A made-up trace as a file in Mooncake's format, so that other tools can play the same one.
//!
//! That format has blocks of 512 tokens: what prompts have in common within a block is lost.

use std::collections::HashMap;
use std::fmt::Write as _;

use pointsman_core::time::Tick;
use pointsman_sim::fleet::trace::{BLOCK_TOKENS, Trace};

/// Blocks of the fleet in one of the file.
const PARTS: usize = 512 / BLOCK_TOKENS as usize;

/// The lines of the file, when `rate` requests come per second.
pub(crate) fn mooncake(trace: &Trace, rate: f64) -> String {
    // A block is what it holds and what stands before it.
    let mut known: HashMap<(u64, Vec<u64>), u64> = HashMap::new();
    let mut fresh = 0;
    let mut out = String::new();
    for ask in trace.asks() {
        let at = Trace::arrival(ask, rate, Tick(0)).0 / 1_000_000;
        let blocks = ask.prompt_tokens.div_ceil(512) as usize;
        let mut parent = 0;
        let mut ids = Vec::with_capacity(blocks);
        for block in 0..blocks {
            let held = trace.ids(ask).chunks(PARTS).nth(block).unwrap_or_default();
            let mut next = || {
                fresh += 1;
                fresh
            };
            parent = match held.len() == PARTS {
                true => *known.entry((parent, held.to_vec())).or_insert_with(next),
                // A block that is not full has tokens of its own.
                false => next(),
            };
            ids.push(parent.to_string());
        }
        let _ = writeln!(
            out,
            "{{\"timestamp\": {at}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{}]}}",
            ask.prompt_tokens.max(1),
            ask.output_tokens,
            ids.join(", ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_bench::inputs;
    use pointsman_bench::load::Prompt;
    use pointsman_sim::fleet::traffic::Traffic;

    #[test]
    fn what_is_saved_is_read_again_with_its_prefixes() {
        let trace = Traffic::Shared.trace(3, 400);
        let text = mooncake(&trace, 20.0);
        let found = inputs::trace("t", &text, 1.0);
        assert_eq!((found.read.used, found.read.broken), (400, 0));
        let last = found.arrivals[399].as_secs_f64();
        assert!((10.0..40.0).contains(&last), "{last}");
        let mut seen = std::collections::HashSet::new();
        let (mut again, mut all) = (0, 0);
        for (ask, was) in found.asks.iter().zip(trace.asks()) {
            let Prompt::Blocks { ids, bytes, .. } = &ask.prompt else {
                panic!("a trace has blocks");
            };
            assert_eq!(bytes / 4, was.prompt_tokens as usize);
            assert_eq!(ask.max_tokens, Some(was.output_tokens));
            all += ids.len();
            again += ids.iter().filter(|&&id| !seen.insert(id)).count();
        }
        // Two of the three or four blocks of a prompt are the system prompt's.
        let share = again as f64 / all as f64;
        assert!((0.4..0.7).contains(&share), "{share}");
    }
}
