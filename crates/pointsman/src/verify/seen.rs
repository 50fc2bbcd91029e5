//! Everything that was seen of a gateway; what is `None` was not reached.

use std::fmt;

use pointsman_wire::receipt::{ProfileFacts, Receipt};

use crate::verify::check::Title;
use crate::verify::views::{Plan, Pool, Routes};

/// All observations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Where the gateway was looked for.
    pub(crate) target: String,
    /// Where its admin port was looked for.
    pub(crate) admin: String,
    /// What the admin port says, or why it says nothing.
    pub(crate) views: Option<Result<Views, String>>,
    /// Whether the gateway takes connections.
    pub(crate) reached: Option<Result<(), String>>,
    /// Candidates asked directly.
    pub(crate) direct: Option<Vec<Direct>>,
    /// Candidates that are too many to be asked directly.
    pub(crate) not_asked: usize,
    /// One probe for each header route.
    pub(crate) headers: Option<Vec<HeaderProbe>>,
    /// The bursts, as far as they were run.
    pub(crate) bursts: Option<Bursts>,
    /// One candidate under load.
    pub(crate) load: Option<Load>,
    /// What the cluster's objects say already of why traffic goes wrong: the check that found it, and the cause.
    pub(crate) obstacle: Option<(Title, String)>,
}

/// Pages of the admin port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Views {
    /// `/debug/endpoints`.
    pub(crate) pool: Pool,
    /// `/debug/plan`.
    pub(crate) plan: Plan,
    /// `/debug/routes`.
    pub(crate) routes: Routes,
}

/// Why nobody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection was refused, or there is no way to the address.
    Refused,
    /// No answer within so many seconds.
    Silent(u64),
    /// The connection or the answer broke; in words.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the connection is refused"),
            Self::Silent(seconds) => write!(f, "no answer within {seconds} s"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// Its request id.
    pub(crate) request_id: String,
    /// The answer, or why there is none.
    pub(crate) answer: Result<Answer, Failure>,
    /// The gateway's account of it.
    pub(crate) receipt: Option<Box<Receipt>>,
}

/// What an answer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The response's `id`.
    pub(crate) id: Option<String>,
    /// The request id that the answer names; a gateway may have given another one than was sent.
    pub(crate) request_id: Option<String>,
    /// The header that says why a request was dropped.
    pub(crate) dropped: Option<String>,
    /// The error's message.
    pub(crate) message: Option<String>,
}

impl Probe {
    /// Whether it was answered 200.
    pub(crate) fn is_good(&self) -> bool {
        self.answer
            .as_ref()
            .is_ok_and(|answer| answer.status == 200)
    }

    /// The pair that the answer's id names.
    pub(crate) fn pair(&self) -> Option<&str> {
        pair_of(self.answer.as_ref().ok()?.id.as_deref()?)
    }
}

/// A candidate asked without the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    /// Its name.
    pub(crate) endpoint: String,
    /// A completion.
    pub(crate) probe: Probe,
    /// How long the completion took, in milliseconds; told, never judged.
    pub(crate) took_ms: u64,
    /// Status of its metrics page.
    pub(crate) metrics: Result<u16, Failure>,
}

/// A request with the headers of a rule.
#[derive(Clone, Debug)]
pub(crate) struct HeaderProbe {
    /// Which rule, counted from 0.
    pub(crate) rule: usize,
    /// The request.
    pub(crate) probe: Probe,
    /// Candidates whose count of served requests grew meanwhile.
    pub(crate) grew: Vec<String>,
}

/// Counters of the gateway at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// Decisions that ended in a pick.
    pub(crate) decisions: f64,
    /// Requests that went past the picker.
    pub(crate) bypassed: f64,
    /// Decisions that failed.
    pub(crate) failed: f64,
}

/// The bursts and what counted them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bursts {
    /// Size, concurrency and the probes of each that was run.
    pub(crate) run: Vec<(usize, usize, Vec<Probe>)>,
    /// Sizes and concurrencies of those that were left out after a failed one.
    pub(crate) left_out: Vec<(usize, usize)>,
    /// The gateway's counters before and after.
    pub(crate) counters: Option<(Counters, Counters)>,
    /// Whether all was looked at that belongs to them.
    pub(crate) done: bool,
    /// By candidate: by how much its own count of served requests grew; `None` where it has none.
    pub(crate) growth: Vec<(String, Option<f64>)>,
}

impl Bursts {
    /// All probes.
    pub(crate) fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.run.iter().flat_map(|(_, _, probes)| probes)
    }
}

/// Some candidates under load, and who got the requests meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Why it was not tried, if so.
    pub(crate) not_tried: Option<NotTried>,
    /// Candidates that compete.
    pub(crate) candidates: usize,
    /// Those under load.
    pub(crate) victims: Vec<String>,
    /// Streams held open on them.
    pub(crate) streams: usize,
    /// What the gateway showed in flight on them before the probes.
    pub(crate) in_flight: u64,
    /// Streams that were still open after the last probe.
    pub(crate) still_open: usize,
    /// The requests meanwhile.
    pub(crate) probes: Vec<Probe>,
}

/// Why no candidate was put under load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTried {
    /// The pool has one candidate.
    OneInPool,
    /// Filters leave one candidate: those filtered and by which filter.
    OneLeft(Vec<(String, String)>),
    /// Others do not serve.
    OneServes,
    /// No receipt tells where requests go.
    NoReceipts,
    /// The streams could not be opened; in words.
    NoStreams(String),
}

/// The pair in an id: what stands between the first `___prefill_addr_` and the last `_`.
pub(crate) fn pair_of(id: &str) -> Option<&str> {
    let from = id.find("___prefill_addr_")?;
    let (pair, unique) = id[from..].rsplit_once('_')?;
    (pair.contains("___decode_addr_") && !unique.is_empty()).then_some(pair)
}

/// The profile that decided who serves: that of the decode where there is one.
pub(crate) fn run_of(receipt: &Receipt) -> Option<&ProfileFacts> {
    let decode = receipt.profiles.iter().find(|run| run.name == "decode");
    decode.or_else(|| receipt.profiles.first())
}

/// The last part of a candidate's name.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_out_of_an_id() {
        let id = "cmpl-___prefill_addr_vllm-prefill-fs___decode_addr_vllm-decode-fs_0af";
        let pair = "___prefill_addr_vllm-prefill-fs___decode_addr_vllm-decode-fs";
        assert_eq!(pair_of(id), Some(pair));
        assert_eq!(pair_of("cmpl-0af"), None);
        assert_eq!(pair_of("cmpl-___prefill_addr_x_0af"), None);
    }
}
