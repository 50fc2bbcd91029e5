//! Who leads, worked out from what stands in a Lease: no IO, time is an argument.
//!
//! As everywhere in Kubernetes, clocks are not compared: a Lease has expired when it has not *changed* for its
//! duration by our own clock. A leader that could not renew for [`RENEW_WITHIN`] stops leading before others may
//! begin, which is after [`DURATION`].

use std::time::Duration;

/// How long a Lease holds after its last change.
pub const DURATION: Duration = Duration::from_secs(15);

/// How long a leader leads after its last renewal.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// What stands in a Lease, as far as it matters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Who holds it; empty when it was given up.
    pub holder: String,
    /// For how long, in seconds.
    pub seconds: u64,
    /// Its version: any change changes it.
    pub version: String,
}

/// What is to be done with the Lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make it: there is none.
    Create,
    /// Take it over: nobody holds it any more.
    Take,
    /// Renew it: it is ours.
    Renew,
    /// Somebody else leads.
    Wait,
}

/// One candidate.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    seen: Option<(Record, Duration)>,
    renewed: Option<Duration>,
}

impl Candidate {
    /// A candidate that has seen nothing yet.
    pub fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Its name in the Lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The Lease was read at `now`.
    pub fn look(&mut self, found: Option<Record>, now: Duration) -> Step {
        let Some(found) = found else {
            self.seen = None;
            return Step::Create;
        };
        if found.holder == self.identity {
            return Step::Renew;
        }
        // Somebody else took it, whatever we thought.
        self.renewed = None;
        let since = match &self.seen {
            Some((seen, since)) if *seen == found => *since,
            _ => now,
        };
        let is_over = found.holder.is_empty()
            || now.saturating_sub(since) >= Duration::from_secs(found.seconds.max(1));
        self.seen = Some((found, since));
        if is_over { Step::Take } else { Step::Wait }
    }

    /// A write that began at `at` was accepted: the Lease is ours from then.
    pub fn holds_since(&mut self, at: Duration) {
        self.renewed = Some(at);
    }

    /// A write was refused because somebody else was quicker.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether it leads at `now`.
    pub fn leads(&self, now: Duration) -> bool {
        self.renewed
            .is_some_and(|at| now.saturating_sub(at) < RENEW_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, version: &str) -> Option<Record> {
        Some(Record {
            holder: holder.to_owned(),
            seconds: 15,
            version: version.to_owned(),
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_does_not_change_is_taken_after_its_duration() {
        let mut b = Candidate::new("b".into());
        assert_eq!(b.look(held("a", "1"), at(0)), Step::Wait);
        assert_eq!(b.look(held("a", "2"), at(14)), Step::Wait);
        assert_eq!(b.look(held("a", "2"), at(28)), Step::Wait);
        assert_eq!(b.look(held("a", "2"), at(29)), Step::Take);
        assert_eq!(b.look(held("", "3"), at(30)), Step::Take);
        assert_eq!(b.look(None, at(31)), Step::Create);
    }

    #[test]
    fn who_cannot_renew_stops_leading_before_others_may_begin() {
        let mut a = Candidate::new("a".into());
        assert!(!a.leads(at(0)));
        a.holds_since(at(0));
        assert!(a.leads(at(9)) && !a.leads(at(10)));
        assert!(RENEW_WITHIN < DURATION);
        a.holds_since(at(12));
        assert_eq!(a.look(held("b", "9"), at(13)), Step::Wait);
        assert!(!a.leads(at(13)));
    }

    /// Whatever the order of looks, failed writes and pauses: two candidates never lead at one moment.
    #[test]
    fn there_is_never_more_than_one_leader() {
        let mut random = 1_u64;
        let mut draw = |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % bound
        };
        let mut candidates = ["a", "b", "c"].map(|name| Candidate::new(name.into()));
        let (mut lease, mut version, mut led) = (None::<Record>, 0, 0);
        for _ in 0..20_000 {
            version += 1;
            let now = Duration::from_millis(version * 700);
            let who = draw(3) as usize;
            let step = candidates[who].look(lease.clone(), now);
            let is_cut_off = draw(4) == 0;
            if step != Step::Wait && !is_cut_off {
                let holder = candidates[who].identity().to_owned();
                lease = held(&holder, &version.to_string());
                candidates[who].holds_since(now);
            }
            let leading = candidates.iter().filter(|one| one.leads(now)).count();
            assert!(leading <= 1);
            led += leading;
        }
        assert!(led > 1_000, "somebody led: {led}");
    }
}
