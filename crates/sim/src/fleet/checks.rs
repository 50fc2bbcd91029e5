//! What must hold, whatever happens; a defect of the engine or of the router panics here.
//!
//! - Every pick is a row that the filters left, and an endpoint of the membership of that moment: a dead one is
//!   not picked once it has left.
//! - Every request ends exactly once: those that came are those that have ended and those under way.
//! - The router's count of an endpoint's requests is the number that was sent there and has not come back.
//! - An engine has as many requests as it was given, and uses no more blocks than it has.
//! - In the end nothing is in flight and no engine holds anything.
//!
//! The first two are looked at with every request; an endpoint and its engines whenever a request comes to them or
//! leaves, and with every reading of its gauges.

use crate::fleet::Fleet;

impl Fleet {
    /// The endpoint number `number` and its engines are as they must be.
    pub(super) fn check_post(&self, number: usize) {
        let post = &self.posts[number];
        assert_eq!(
            self.slots.in_flight(post.endpoint.slot),
            post.held,
            "the router counts otherwise on {}",
            post.endpoint.name
        );
        for host in post.prefill.into_iter().chain([post.decode]) {
            self.check_host(host);
        }
    }

    /// The engine `host` has what it was given.
    pub(super) fn check_host(&self, host: usize) {
        let host = &self.hosts[host];
        let gauges = host.engine.gauges(self.now);
        let load = gauges.running + gauges.waiting;
        // What was taken back may stay until the step under way has ended.
        let fits = load == host.legs || (host.aborted && load > host.legs);
        assert!(
            fits,
            "an engine of endpoint {} has {load} requests and was given {}",
            host.post, host.legs
        );
        assert!(
            gauges.used_blocks <= gauges.total_blocks,
            "an engine uses {} of {} blocks",
            gauges.used_blocks,
            gauges.total_blocks
        );
    }

    /// Nobody is lost and nobody is counted twice.
    pub(super) fn check_conservation(&self) {
        let under_way = (self.flights.len() - self.spare.len()) as u64;
        assert_eq!(
            self.totals.ended() + under_way,
            self.arrived,
            "a request was lost or ended twice"
        );
    }

    pub(super) fn check_nothing_left(&self, requests: u64) {
        self.check_conservation();
        assert_eq!(self.totals.ended(), requests, "a request has no end");
        assert_eq!(self.slots.total_in_flight(), 0, "something stays in flight");
        for host in &self.hosts {
            let gauges = host.engine.gauges(self.now);
            assert_eq!(
                (
                    host.legs,
                    gauges.running,
                    gauges.waiting,
                    gauges.used_blocks
                ),
                (0, 0, 0, 0),
                "the engine of endpoint {} still holds something",
                host.post
            );
        }
    }
}
