//! What is written about requests: pretty lines for people, JSON lines for machines, by level.
//!
//! Pretty: one calm line per request when it has ended. JSON: `Scoring decision` at level 1, `Scoring breakdown`
//! and the receipt of each ended request at level 2, failures always. Decision lines are limited to a rate; what is left out is counted.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use pointsman_core::exchange::event::{End, Outcome};
use pointsman_core::model::reject::Reject;
use pointsman_core::schedule::decision::Decision;
use pointsman_core::time::Tick;
use pointsman_wire::decision_log::{
    write_breakdown, write_decision, write_failure, write_receipt, write_reject,
};
use pointsman_wire::receipt::writing::receipt;
use pointsman_wire::receipt::{Meta, rfc3339};
use pointsman_wire::status::log_text;

use crate::record::ring::Recorded;
use crate::record::sink::{Sink, Ticket};

/// Decision lines per second and destination.
const LINES_PER_SECOND: u64 = 1000;

/// How lines look on the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// For people: one line per request.
    Pretty,
    /// For machines: the decision log.
    Json,
}

/// The log destinations of a process.
#[derive(Default)]
pub struct Log {
    /// The terminal, if anything is to be written there.
    pub terminal: Option<(Sink, Style)>,
    /// A file, which always gets JSON lines.
    pub file: Option<Sink>,
    /// 0: failures only; 1: decisions; 2: breakdowns too.
    pub verbosity: u8,
    rate: Rate,
}

/// The lines of one decision that are still to be written.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tickets {
    terminal: Option<Ticket>,
    file: Option<Ticket>,
}

impl Log {
    /// A log with these destinations.
    pub fn new(terminal: Option<(Sink, Style)>, file: Option<Sink>, verbosity: u8) -> Self {
        Self {
            terminal,
            file,
            verbosity,
            rate: Rate::default(),
        }
    }

    fn json_sinks(&self) -> (Option<&Sink>, Option<&Sink>) {
        let terminal = self
            .terminal
            .as_ref()
            .filter(|(_, style)| *style == Style::Json)
            .map(|(sink, _)| sink);
        (terminal, self.file.as_ref())
    }

    /// Whether somebody wants decisions as JSON lines.
    pub fn wants_decisions(&self) -> bool {
        let (terminal, file) = self.json_sinks();
        self.verbosity >= 1 && (terminal.is_some() || file.is_some())
    }

    /// Writes the lines of a decision.
    pub fn decision(&self, decision: &Decision, meta: &Meta, now: Tick) -> Tickets {
        let sinks = self.json_sinks();
        if !self.rate.allows(now) {
            [sinks.0, sinks.1]
                .into_iter()
                .flatten()
                .for_each(Sink::count_dropped);
            return Tickets::default();
        }
        let mut text = String::with_capacity(1024);
        if self.verbosity >= 2 {
            write_breakdown(&mut text, decision, meta);
        }
        write_decision(&mut text, decision, meta);
        Self::submit(sinks, text)
    }

    /// Whether somebody wants the receipts of ended requests.
    pub fn wants_receipts(&self) -> bool {
        self.verbosity >= 2 && self.wants_decisions()
    }

    /// Writes the receipt of a request that has ended.
    pub fn receipt(&self, recorded: &Recorded, now: Tick) {
        let sinks = self.json_sinks();
        if !self.rate.allows(now) {
            [sinks.0, sinks.1]
                .into_iter()
                .flatten()
                .for_each(Sink::count_dropped);
            return;
        }
        let written = receipt(
            &recorded.decision,
            &recorded.meta,
            recorded.outcome.as_ref(),
        );
        let mut text = String::with_capacity(4096);
        write_receipt(&mut text, &written, &recorded.meta);
        Self::submit(sinks, text);
    }

    /// Writes why a request was refused.
    pub fn refused(&self, reject: &Reject, meta: &Meta, now: Tick) {
        let sinks = self.json_sinks();
        if !self.rate.allows(now) {
            return;
        }
        // A pool that filters leave empty is a mistake of the set-up: people see it too.
        if let (Some((sink, Style::Pretty)), Reject::FilteredOut { .. }) = (&self.terminal, reject)
        {
            sink.submit(format!("{}\n", log_text(reject)));
        }
        let mut text = String::new();
        match reject {
            Reject::FilteredOut { profile, filter } => {
                write_failure(&mut text, profile, filter, meta)
            }
            other => write_reject(&mut text, other.word(), &other.to_string(), meta),
        }
        Self::submit(sinks, text);
    }

    fn submit((terminal, file): (Option<&Sink>, Option<&Sink>), text: String) -> Tickets {
        match (terminal, file) {
            (Some(terminal), Some(file)) => Tickets {
                terminal: terminal.submit(text.clone()),
                file: file.submit(text),
            },
            (Some(terminal), None) => Tickets {
                terminal: terminal.submit(text),
                file: None,
            },
            (None, Some(file)) => Tickets {
                terminal: None,
                file: file.submit(text),
            },
            (None, None) => Tickets::default(),
        }
    }

    /// Waits until the lines of a decision are written.
    pub async fn written(&self, tickets: Tickets) {
        if let (Some(ticket), Some((sink, _))) = (tickets.terminal, &self.terminal) {
            sink.written(ticket).await;
        }
        if let (Some(ticket), Some(sink)) = (tickets.file, &self.file) {
            sink.written(ticket).await;
        }
    }

    /// Whether somebody wants a pretty line per request.
    pub fn wants_pretty(&self) -> bool {
        self.verbosity >= 1 && matches!(self.terminal, Some((_, Style::Pretty)))
    }

    /// Writes the pretty line of a request that has ended.
    pub fn ended(&self, line: &PrettyLine<'_>, now: Tick) {
        let Some((sink, Style::Pretty)) = &self.terminal else {
            return;
        };
        if self.rate.allows(now) {
            sink.submit(line.render());
        } else {
            sink.count_dropped();
        }
    }

    /// Writes a remark of the server itself in the style of the terminal.
    pub fn remark(&self, at_unix_ns: u64, text: &str) {
        let json = || {
            let text = serde_json::to_string(text).unwrap_or_default();
            format!(
                "{{\"level\":\"info\",\"ts\":\"{}\",\"logger\":\"pointsman\",\"caller\":\"serve\",\"msg\":{text}}}\n",
                rfc3339(at_unix_ns)
            )
        };
        match &self.terminal {
            Some((sink, Style::Pretty)) => drop(sink.submit(format!("{text}\n"))),
            Some((sink, Style::Json)) => drop(sink.submit(json())),
            None => {}
        }
        if let Some(file) = &self.file {
            file.submit(json());
        }
    }

    /// Lines that were not written because of the rate or a full queue.
    pub fn dropped(&self) -> u64 {
        self.terminal.as_ref().map_or(0, |(sink, _)| sink.dropped())
            + self.file.as_ref().map_or(0, Sink::dropped)
    }
}

/// What the pretty line says.
pub struct PrettyLine<'a> {
    /// Wall-clock time of the end.
    pub at_unix_ns: u64,
    /// Path asked for.
    pub path: &'a str,
    /// Request id.
    pub request_id: &'a str,
    /// Endpoint that served or was tried last, or `-`.
    pub endpoint: &'a str,
    /// How it ended.
    pub outcome: &'a Outcome,
}

impl PrettyLine<'_> {
    fn render(&self) -> String {
        let clock = rfc3339(self.at_unix_ns);
        let mut line = String::with_capacity(160);
        let status = match (self.outcome.end, self.outcome.status) {
            (End::ClientGone, _) => "gone".to_owned(),
            (End::Broken, Some(status)) => format!("{status}!"),
            (_, Some(status)) => status.to_string(),
            (_, None) => "-".to_owned(),
        };
        let endpoint = self.endpoint.rsplit('/').next().unwrap_or(self.endpoint);
        let _ = write!(
            line,
            "{}  {status:<4} {:<22} {endpoint:<26}",
            &clock[11..19],
            self.path
        );
        match self.outcome.first_byte {
            Some(first) => drop(write!(line, " ttft {:>7.1} ms", first.as_millis_f64())),
            None => line.push_str("                "),
        }
        let _ = write!(
            line,
            "  total {:>8.1} ms",
            self.outcome.total.as_millis_f64()
        );
        if let Some(usage) = self.outcome.usage {
            let _ = write!(
                line,
                "  {:>5} + {:<4} tok",
                usage.prompt_tokens, usage.completion_tokens
            );
        }
        if let Some(reason) = self.outcome.reason {
            let _ = write!(line, "  {reason}");
        }
        let _ = writeln!(line, "  {}", self.request_id);
        line
    }
}

/// Counts lines per second of the tick clock.
#[derive(Default)]
struct Rate {
    second: AtomicU64,
    lines: AtomicU64,
}

impl Rate {
    /// Whether one more line fits into this second. Two workers that open a second at once may let a few more through.
    fn allows(&self, now: Tick) -> bool {
        let second = now.0 / 1_000_000_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        self.lines.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_lets_a_thousand_lines_a_second_through() {
        let rate = Rate::default();
        let passed = (0..5_000)
            .filter(|n| rate.allows(Tick(1_000_000_000 + n)))
            .count();
        assert_eq!(passed, 1000);
        assert!(rate.allows(Tick(2_000_000_000)));
    }
}
