//! Faults strike: engines die, return and slow down, endpoints leave the membership and join it again.

use pointsman_core::exchange::event::{Cause, End, Event};
use pointsman_core::time::Tick;

use crate::engine::front::Engine;
use crate::fleet::Fleet;
use crate::fleet::fault::Change;
use crate::fleet::flight::Stage;

impl Fleet {
    /// Makes `change` true now.
    pub(super) fn strike(&mut self, change: Change) {
        match change {
            Change::Dies(host) => self.kill(host),
            Change::Returns(host) => {
                self.hosts[host].up = true;
                let post = self.hosts[host].post;
                self.posts[post].restarted = true;
            }
            Change::Leaves(post) => {
                let gone = !self.hosts[self.posts[post].decode].up;
                if gone && std::mem::replace(&mut self.posts[post].listed, false) {
                    self.list();
                }
            }
            Change::Joins(post) => {
                let back = self.hosts[self.posts[post].decode].up;
                if back && !std::mem::replace(&mut self.posts[post].listed, true) {
                    // Whoever joins is a stranger, even under an old name.
                    self.slots.forget(self.posts[post].endpoint.slot);
                    self.posts[post].restarted = false;
                    self.tell_cache(post);
                    self.list();
                }
            }
            Change::Slows(host, factor) => {
                let host_now = &mut self.hosts[host];
                let slow = host_now.slow * factor;
                host_now.engine.set_slow(self.now, slow, &mut self.told);
                assert!(self.told.is_empty(), "an engine was behind the clock");
                self.agenda.set(host, host_now.engine.next_event());
            }
        }
        self.check_conservation();
    }

    /// The engine is gone with all that it has; another one of its kind, idle and cold, will return in its place.
    fn kill(&mut self, host: usize) {
        let dead = &mut self.hosts[host];
        if !std::mem::replace(&mut dead.up, false) {
            return;
        }
        let config = dead.engine.config().clone();
        dead.engine = Engine::new(config, self.rebirths.next_seed());
        dead.engine.set_slow(Tick(0), dead.slow, &mut self.told);
        (dead.legs, dead.aborted) = (0, false);
        self.agenda.set(host, None);
        // In the order of their keys, which follows from what came before and so from the seed.
        for key in 0..self.flights.len() as u32 {
            self.lose(key, host);
        }
    }

    /// What becomes of a request when the engine `host` dies.
    fn lose(&mut self, key: u32, host: usize) {
        let flight = &self.flights[key as usize];
        let Some(post) = flight.post else { return };
        let decode = self.posts[post].decode;
        match flight.stage {
            Stage::Answer if flight.host == host => {}
            // The decode engine computes the prompt itself.
            Stage::Prefill if flight.host == host && self.hosts[decode].up => {
                return self.compute_at(key, decode);
            }
            Stage::Prefill if flight.host == host => {}
            Stage::Prefill if decode == host => self.take_back(key),
            _ => return,
        }
        self.flights[key as usize].stage = Stage::Nowhere;
        if self.flights[key as usize].answered {
            let life = &mut self.flights[key as usize].life;
            let effect = life.on(Event::Broken(Cause::Reset), self.now);
            let outcome = self.close(key, effect);
            assert_eq!(
                outcome.end,
                End::Broken,
                "an answer that breaks off ended so"
            );
            self.totals.broken += 1;
        } else {
            self.send_again(key, Cause::Reset);
        }
    }

    fn compute_at(&mut self, key: u32, decode: usize) {
        let arrival = std::mem::take(&mut self.flights[key as usize].arrival);
        self.answer(key, &arrival, decode, None);
        self.flights[key as usize].arrival = arrival;
    }

    /// The prefill engine need not go on with a prompt that nobody waits for.
    fn take_back(&mut self, key: u32) {
        let flight = &self.flights[key as usize];
        let host = &mut self.hosts[flight.host];
        if host.engine.abort(self.now, flight.handle, &mut self.told) {
            host.legs -= 1;
            host.aborted = true;
        }
        assert!(self.told.is_empty(), "an engine was behind the clock");
        self.agenda.set(flight.host, host.engine.next_event());
    }
}
