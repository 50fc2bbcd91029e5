//! The requests of a plan as JSON lines for another load client: prompt, length of the answer, and when it starts.

use std::io::{self, Write};

use crate::load::plan::{Pacing, Plan, Work};
use crate::load::work::Writer;

/// Most lines of a closed loop; a client that needs more begins anew.
const MOST: usize = 20_000;
/// Most bytes of all lines, beside the least number of them.
const BYTES: usize = 64 << 20;
const LEAST: usize = 64;
/// Conversations that take turns where no connection keeps them apart.
const TALKS: usize = 32;

/// Writes the lines, and gives their number: `prompt`, `output_tokens_count`, and for arrivals `relative_timestamp`
/// in seconds.
///
/// # Errors
/// They cannot be written.
pub fn write(plan: &Plan, out: &mut impl Write) -> io::Result<usize> {
    let mut writer = Writer::new(plan);
    let arrivals = match &plan.pacing {
        Pacing::Arrivals { at, .. } => Some(at),
        _ => None,
    };
    let end = plan.warmup + plan.window;
    let most = match (arrivals, &plan.work) {
        (Some(at), _) => at.iter().take_while(|at| **at < end).count(),
        (None, Work::Given(asks)) => asks.len().min(MOST),
        (None, _) => MOST,
    };
    let mut bytes = 0;
    for number in 0..most {
        let (prompt, tokens) = writer.ask(number % TALKS);
        bytes += prompt.len();
        if arrivals.is_none() && bytes > BYTES && number >= LEAST {
            return Ok(number);
        }
        out.write_all(b"{\"prompt\":\"")?;
        out.write_all(&prompt)?;
        write!(out, "\",\"output_tokens_count\":{tokens}")?;
        if let Some(at) = arrivals.and_then(|at| at.get(number)) {
            write!(out, ",\"relative_timestamp\":{}", at.as_secs_f64())?;
        }
        out.write_all(b"}\n")?;
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;
    use std::time::Duration;

    fn lines(pacing: Pacing, work: Work) -> (usize, Vec<Value>) {
        let mut plan = Plan::new(([127, 0, 0, 1], 1).into(), pacing, Duration::from_secs(2));
        plan.warmup = Duration::ZERO;
        plan.work = work;
        plan.max_tokens = 5;
        let mut out = Vec::new();
        let count = write(&plan, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (count, parsed.collect())
    }

    #[test]
    fn arrivals_of_the_run_are_told_with_their_times() {
        let at = [0, 500, 1999, 2001].map(Duration::from_millis).into();
        let pacing = Pacing::Arrivals { at, connections: 1 };
        let (count, lines) = lines(pacing, Work::Unique { bytes: 30 });
        assert_eq!((count, lines.len()), (3, 3));
        assert_eq!(lines[1]["relative_timestamp"], 0.5);
        assert_eq!(lines[1]["output_tokens_count"], 5);
        assert_eq!(lines[1]["prompt"].as_str().unwrap().len(), 30);
        assert_ne!(lines[0]["prompt"], lines[1]["prompt"]);
    }

    #[test]
    fn a_closed_loop_has_many_lines_but_not_too_many_bytes() {
        let pacing = Pacing::Closed { connections: 4 };
        let (count, lines) = lines(pacing.clone(), Work::Unique { bytes: 1 << 20 });
        assert_eq!((count, lines.len()), (LEAST, LEAST));
        assert!(lines[0]["relative_timestamp"].is_null());
        let talk = Work::Conversations {
            shared: 0,
            turns: 2,
            turn: 20,
        };
        let (count, lines) = self::lines(pacing, talk);
        assert_eq!(count, MOST);
        let prompt = |at: usize| lines[at]["prompt"].as_str().unwrap().to_owned();
        assert!(prompt(TALKS).starts_with(&prompt(0)));
        assert_eq!(prompt(TALKS).len(), 40);
    }
}
