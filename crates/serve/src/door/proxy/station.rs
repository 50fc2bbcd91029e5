//! The engines of one stage, and which of them a request begins with.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::door::proxy::config::EngineAddress;
use crate::handoff::leg::{Engine, Place};
use crate::handoff::target::{Target, TargetError};

/// An engine that a proxy was given.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) target: Target,
    pub(crate) name: String,
}

impl Station {
    /// The engine as a handoff sees it.
    pub(crate) fn engine(&self) -> Engine<'_> {
        Engine {
            place: Place::Named(&self.target),
            name: &self.name,
        }
    }
}

/// The engines of one stage.
#[derive(Debug)]
pub(crate) struct Stage {
    stations: Vec<Station>,
    turn: AtomicUsize,
}

impl Stage {
    /// A stage of one engine and further ones.
    ///
    /// # Errors
    /// When a URL is not `http://host:port`.
    pub(crate) fn new(url: &str, name: &str, more: &[EngineAddress]) -> Result<Self, TargetError> {
        let all = std::iter::once((url, name))
            .chain(more.iter().map(|e| (e.url.as_str(), e.name.as_str())));
        let stations = all
            .map(|(url, name)| {
                Ok(Station {
                    target: Target::parse(url)?,
                    name: name.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            stations,
            turn: AtomicUsize::new(0),
        })
    }

    /// All engines.
    pub(crate) fn all(&self) -> &[Station] {
        &self.stations
    }

    /// Every engine once, beginning with the one whose turn it is, or with `wanted` (`host:port`) where it is one of them.
    pub(crate) fn round(&self, wanted: Option<&str>) -> impl Iterator<Item = &Station> {
        let count = self.stations.len();
        let wanted = wanted.and_then(|wanted| {
            let named = |s: &Station| s.target.authority().as_bytes() == wanted.as_bytes();
            self.stations.iter().position(named)
        });
        let start = match wanted {
            Some(at) => at,
            None if count == 1 => 0,
            // Only spreads requests; two that draw at once need no order between them.
            None => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        (0..count).map(move |step| &self.stations[(start + step) % count])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(stage: &Stage, wanted: Option<&str>, expected: &str) {
        let names: Vec<_> = stage.round(wanted).map(|s| s.name.as_str()).collect();
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn requests_begin_with_each_engine_in_turn() {
        let more = |name: &str| EngineAddress {
            url: format!("http://{name}:80"),
            name: name.to_owned(),
        };
        let stage = Stage::new("http://a:80", "a", &[more("b"), more("c")]).unwrap();
        check(&stage, None, "a b c");
        check(&stage, None, "b c a");
        check(&stage, Some("c:80"), "c a b");
        check(&stage, Some("evil:80"), "c a b");
        check(&stage, None, "a b c");
        assert!(Stage::new("http://a:80", "a", &[more("")]).is_err());
    }
}
