//! The omniscient greedy choice: the engine that will have this request's first token first.
//!
//! For each engine a copy of it, with its queue, its caches and its chance, takes the request and runs on
//! until the first token; the true lengths of all answers are in it. What arrives later is not known, so
//! the choice is the best for this request and not always for the fleet. Of equal times the engine with
//! fewer requests goes first, then chance decides.

use pointsman_core::rng::Rng;
use pointsman_core::time::Tick;

use crate::engine::request::{EngineEvent, EngineRequest, EventKind};
use crate::fleet::host::{Host, Post};

/// The name of the request in a copy of an engine; no fleet has as many under way.
const TRIAL: u64 = u64::MAX;

/// What built-in rules see: everything.
pub struct Field<'a> {
    /// The engines.
    pub hosts: &'a [Host],
    /// The endpoints before them.
    pub posts: &'a [Post],
    /// The time.
    pub now: Tick,
}

impl Field<'_> {
    /// The engine of an endpoint that answers.
    pub fn host(&self, post: usize) -> &Host {
        &self.hosts[self.posts[post].decode]
    }

    /// Requests that the engines of an endpoint have, running or waiting.
    pub fn load(&self, post: usize) -> u32 {
        let prefill = self.posts[post]
            .prefill
            .map(|at| self.hosts[at].load(self.now));
        self.host(post).load(self.now) + prefill.unwrap_or(0)
    }
}

/// Memory of the oracle between its choices.
#[derive(Debug, Default)]
pub struct Oracle {
    order: Vec<usize>,
    best: Vec<usize>,
    told: Vec<EngineEvent>,
}

impl Oracle {
    /// The one of `candidates` that answers `request`, which arrives now, first; `None` if no engine takes it. Of a
    /// pair it looks only at the engine that answers, as if that computed the prompt.
    pub fn choose(
        &mut self,
        field: &Field<'_>,
        candidates: &[usize],
        request: &EngineRequest<'_>,
        chance: &mut Rng,
    ) -> Option<usize> {
        self.order.clear();
        self.order.extend_from_slice(candidates);
        // Likely winners first: the others then run no longer than the best so far.
        self.order.sort_by_key(|&post| field.load(post));
        self.best.clear();
        let (mut first, mut load) = (Tick(u64::MAX), u32::MAX);
        for &post in &self.order {
            let host = field.host(post);
            if !host.up {
                continue;
            }
            let Some(at) = first_token(host, field.now, request, first, &mut self.told) else {
                continue;
            };
            let busy = field.load(post);
            if (at, busy) < (first, load) {
                self.best.clear();
                (first, load) = (at, busy);
            }
            if (at, busy) == (first, load) {
                self.best.push(post);
            }
        }
        match self.best.as_slice() {
            [] => None,
            &[only] => Some(only),
            several => Some(several[chance.below(several.len())]),
        }
    }
}

/// When the engine would have the first token, unless that is after `limit`.
fn first_token(
    host: &Host,
    now: Tick,
    request: &EngineRequest<'_>,
    limit: Tick,
    told: &mut Vec<EngineEvent>,
) -> Option<Tick> {
    let mut engine = host.engine.clone();
    let trial = EngineRequest {
        key: TRIAL,
        ..*request
    };
    told.clear();
    engine.submit(now, &trial, told).ok()?;
    while let Some(next) = engine.next_event().filter(|&next| next <= limit) {
        engine.advance(next, told);
        let first = told
            .drain(..)
            .find(|event| event.key == TRIAL && event.kind == EventKind::FirstToken);
        if let Some(event) = first {
            return Some(event.at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::{EngineConfig, ReferenceTiming, Timing};
    use crate::engine::front::Engine;
    use crate::fleet::report::EndpointReport;
    use pointsman_core::model::endpoint::{Endpoint, Labels};
    use pointsman_core::model::slots::Slot;
    use pointsman_core::time::Span;

    /// Chained hashes of a prompt.
    const WARM: [u64; 40] = {
        let mut hashes = [0; 40];
        let mut at = 0;
        while at < 40 {
            hashes[at] = 1_000 + at as u64;
            at += 1;
        }
        hashes
    };

    const NOW: Tick = Tick(10_000_000_000);

    fn request(key: u64, blocks: &[u64], output_tokens: u32) -> EngineRequest<'_> {
        EngineRequest {
            key,
            prompt_tokens: 16 * blocks.len() as u32 + 5,
            blocks,
            output_tokens,
            observed: false,
            remote: None,
        }
    }

    /// Three engines with one slot, 1 ms per prompt token and 10 ms per further token; the last one has
    /// served [`WARM`], and it and the first one answer `busy` tokens from [`NOW`] on.
    fn hosts(busy: u32) -> Vec<Host> {
        let timing = ReferenceTiming {
            prefill_per_token: Span::from_millis(1),
            inter_token: Span::from_millis(10),
            ..ReferenceTiming::default()
        };
        let config = EngineConfig {
            max_running: 1,
            ..EngineConfig::new(Timing::Reference(timing), 1.0, 1_000)
        };
        let host = |at: usize| Host::new(Engine::new(config.clone(), at as u64), 1.0, at);
        let mut hosts: Vec<Host> = (0..3).map(host).collect();
        let mut told = Vec::new();
        let warm = request(1, &WARM, 1);
        assert!(hosts[2].engine.submit(Tick(0), &warm, &mut told).is_ok());
        for host in &mut hosts {
            host.engine.advance(NOW, &mut told);
        }
        if busy > 0 {
            for row in [0, 2] {
                let long = request(2, &[], busy);
                let taken = hosts[row].engine.submit(NOW, &long, &mut told);
                assert!(taken.is_ok());
            }
        }
        hosts
    }

    fn choose(hosts: &[Host], request: &EngineRequest<'_>, chance: &mut Rng) -> Option<usize> {
        let post = |at: usize| Post {
            endpoint: Endpoint::new("a", ([127, 0, 0, 1], 0).into(), Labels::default(), Slot(0)),
            prefill: None,
            decode: at,
            held: 0,
            listed: true,
            restarted: false,
            tally: EndpointReport::default(),
        };
        let posts: Vec<Post> = (0..hosts.len()).map(post).collect();
        let field = Field {
            hosts,
            posts: &posts,
            now: NOW,
        };
        Oracle::default().choose(&field, &[0, 1, 2], request, chance)
    }

    #[track_caller]
    fn check(busy: u32, blocks: &[u64], expected: &[usize]) {
        let mut chance = Rng::from_seed(1);
        let hosts = hosts(busy);
        for _ in 0..20 {
            let row = choose(&hosts, &request(3, blocks, 4), &mut chance);
            assert!(row.is_some_and(|row| expected.contains(&row)), "{row:?}");
        }
        assert_eq!(hosts[1].load(NOW), 0, "a trial left something behind");
    }

    #[test]
    fn the_first_token_decides_be_it_by_cache_or_by_the_true_length_of_other_answers() {
        check(0, &WARM, &[2]);
        check(0, &[1, 2, 3], &[0, 1, 2]);
        check(20, &[1, 2, 3], &[1]);
        // 645 ms to compute the prompt, or about 200 ms to wait for the slot and 5 ms to compute.
        check(20, &WARM, &[2]);
        check(200, &WARM, &[1]);
    }

    #[test]
    fn a_request_that_fits_nowhere_has_no_engine() {
        let blocks: Vec<u64> = (0..2_000).collect();
        let row = choose(&hosts(0), &request(3, &blocks, 4), &mut Rng::from_seed(1));
        assert_eq!(row, None);
    }
}
