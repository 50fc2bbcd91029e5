//! Root causes: what one finding explains in the others.

use std::collections::BTreeMap;

use crate::verify::check::{self, Check, Title};
use crate::verify::seen::{Failure, Probe, Seen, Views, short};

/// What is wrong at the root.
pub(crate) struct Roots {
    /// Candidates that did not serve when asked directly, and what happened.
    pub(crate) sick: BTreeMap<String, String>,
    /// Requests were served and the picker decided none of them.
    pub(crate) idle: bool,
    /// The filter that left no candidate.
    pub(crate) emptied_by: Option<String>,
    /// The gateway or its admin port did not answer.
    pub(crate) unreachable: bool,
    /// The picker decided, and knows none of the requests' ids: how many decisions there were.
    pub(crate) unnamed: Option<f64>,
    /// What the cluster's objects say already of why traffic goes wrong.
    pub(crate) obstacle: Option<(Title, String)>,
}

impl Roots {
    /// Looks for them.
    pub(crate) fn of(seen: &Seen) -> Self {
        let sick = seen.direct.iter().flatten().filter(|d| !d.probe.is_good());
        let probes = || seen.bursts.iter().flat_map(|b| b.probes());
        let idle = probes().any(Probe::is_good) && probes().all(|p| p.receipt.is_none());
        let counters = seen.bursts.as_ref().and_then(|bursts| bursts.counters);
        let decided = counters.map(|(old, new)| new.decisions - old.decisions);
        Self {
            sick: sick
                .map(|d| (d.endpoint.clone(), happened(&d.probe)))
                .collect(),
            idle,
            emptied_by: probes().find_map(emptied_by),
            unnamed: decided.filter(|decided| idle && *decided > 0.0),
            obstacle: seen.obstacle.clone(),
            unreachable: matches!(seen.views, Some(Err(_))) || matches!(seen.reached, Some(Err(_))),
        }
    }

    /// The candidates that do not serve, in a sentence.
    pub(crate) fn sick_in_words(&self) -> String {
        let said: Vec<String> = self
            .sick
            .iter()
            .map(|(name, what)| format!("{}: {what}", short(name)))
            .collect();
        said.join("; ")
    }

    /// What it means that requests are served and the picker has a receipt of none.
    pub(crate) fn idle_in_words(&self) -> String {
        match self.unnamed {
            None => "picker idle while traffic flows".to_owned(),
            Some(decided) => format!(
                "the picker made {decided} decisions and knows none of the requests by its id: the gateway keeps their headers from it, so its answers cannot count"
            ),
        }
    }

    /// The check that cannot hold because of what the cluster's objects say, if they say something.
    pub(crate) fn obstructed(&self, title: Title, detail: &str) -> Option<Check> {
        let (other, cause) = self.obstacle.as_ref()?;
        Some(title.because_of(detail, *other, cause))
    }

    /// The check that cannot be judged, with the root cause that explains it.
    pub(crate) fn not_seen(&self, title: Title) -> Check {
        if self.unreachable {
            return title.because_of("not run", check::REACHED, "there is no answer");
        }
        title.not_reached()
    }

    /// The admin port's pages, or the check that cannot be judged without.
    pub(crate) fn views<'a>(&self, seen: &'a Seen, title: Title) -> Result<&'a Views, Check> {
        match &seen.views {
            Some(Ok(views)) => Ok(views),
            _ => Err(self.not_seen(title)),
        }
    }
}

/// The filter that a refusal names.
fn emptied_by(probe: &Probe) -> Option<String> {
    let answer = probe.answer.as_ref().ok()?;
    if answer.status != 429 || answer.dropped.as_deref() != Some("rejected-saturated") {
        return None;
    }
    let rest = answer.message.as_deref()?.strip_prefix("filter '")?;
    Some(rest.split_once('\'')?.0.to_owned())
}

/// What came of a probe that was not served.
pub(crate) fn happened(probe: &Probe) -> String {
    match &probe.answer {
        Ok(answer) => match &answer.message {
            Some(message) => format!("answers {}: {message}", answer.status),
            None => format!("answers {}", answer.status),
        },
        Err(Failure::Refused) => "refuses the connection".to_owned(),
        Err(failure) => failure.to_string(),
    }
}
