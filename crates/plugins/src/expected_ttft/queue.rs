//! The requests under way at one endpoint, in the order they were sent, and how long the next one would wait.
//!
//! ```text
//!  sent ──a seat is free──► begun ──head──► answering ──► gone
//! ```
//! An engine serves first come, first served: as one goes, the first that has not begun begins. The wait is read off
//! the expected number of requests that have gone by a time: `D(t) = Σ P(gone by t)`, with the chances of
//! [`crate::expected_ttft::lengths`]; request number `k` of those that wait begins when `D` reaches about `k`.

use pointsman_core::time::Tick;

use crate::expected_ttft::lengths::Survival;
use crate::expected_ttft::model::Work;

/// Departures are expected to have happened a little before their mean number is whole.
const EARLY: f64 = 0.35;

/// Steps towards a departure, and the most steps that are taken.
const STEPS: f64 = 8.0;
const MOST_STEPS: u32 = 64;

/// One request under way.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Its number.
    pub number: u32,
    /// The row of its model.
    pub model: usize,
    /// When it was sent.
    pub sent: Tick,
    /// When a seat was free for it.
    pub begun: Option<Tick>,
    /// When its answer began.
    pub head: Option<Tick>,
    /// Whether its answer is streamed.
    pub streams: bool,
    /// Whether the answer began with an error.
    pub failed: bool,
    /// Whether its time to first token has been learned from.
    pub learned: bool,
    /// What its prefill depended on.
    pub work: Work,
    /// Size of its prompt.
    pub prompt_bytes: f64,
    /// Tokens that were believed to be cached.
    pub cached: f64,
    /// Most tokens that its answer may have.
    pub most: f64,
    /// The wait that was expected, in milliseconds.
    pub wait: f64,
    /// The prefill that was expected, in milliseconds.
    pub prefill: f64,
    /// The prefill that would be expected if nothing were cached, in milliseconds.
    pub patience: f64,
    /// Milliseconds that its prefill loses to a middling endpoint.
    pub loss: f64,
    /// While a wait is worked out: when it would begin, in milliseconds from now.
    pub begins: f64,
}

impl Entry {
    /// Whether a seat was free when it was sent.
    pub fn began_at_once(&self) -> bool {
        self.begun == Some(self.sent)
    }

    /// The chance that it is over `after` milliseconds from now.
    fn gone(&self, now: Tick, after: f64, answer: &Answer<'_>) -> f64 {
        let (so_far, left) = match (self.head, self.begun) {
            (Some(head), _) if self.streams => (now.since(head).as_millis_f64(), 0.0),
            (_, Some(begun)) => {
                let took = now.since(begun).as_millis_f64();
                match took - self.prefill {
                    beyond if beyond > 0.0 && !self.streams => (beyond, 0.0),
                    beyond => (0.0, (-beyond).max(self.prefill * 0.1)),
                }
            }
            (_, None) => (0.0, self.begins + self.prefill),
        };
        let token = answer.token_millis;
        answer
            .survival
            .ends_within(so_far / token, (after - left) / token, self.most)
    }
}

/// How an entry's answer goes.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// How long answers get.
    pub survival: &'a Survival,
    /// Milliseconds per token.
    pub token_millis: f64,
}

/// The requests of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    entries: Vec<Entry>,
    next: u32,
}

impl Queue {
    /// Those under way, in the order they were sent.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Takes in a request; gives its number.
    pub fn push(&mut self, entry: Entry) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.entries.push(Entry { number, ..entry });
        number
    }

    /// The request of this number.
    pub fn get(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }

    /// Takes a request out.
    pub fn remove(&mut self, number: u32) -> Option<Entry> {
        let at = self
            .entries
            .iter()
            .position(|entry| entry.number == number)?;
        Some(self.entries.remove(at))
    }

    /// Lets those begin for whom there are seats.
    pub fn begin(&mut self, seats: f64, now: Tick) {
        let begun = self.entries.iter().filter(|e| e.begun.is_some()).count();
        let mut free = seats - begun as f64;
        for entry in &mut self.entries {
            if free < 1.0 {
                return;
            }
            if entry.begun.is_none() {
                entry.begun = Some(now);
                free -= 1.0;
            }
        }
    }

    /// Answers that have begun and not ended.
    pub fn answering(&self) -> usize {
        let answering = |entry: &&Entry| entry.streams && !entry.failed && entry.head.is_some();
        self.entries.iter().filter(answering).count()
    }

    /// Prompt tokens of those that have begun and have no answer yet.
    pub fn ahead(&self) -> f64 {
        self.entries
            .iter()
            .filter(|e| e.begun.is_some() && e.head.is_none() && e.streams)
            .map(|e| e.work.uncached)
            .sum()
    }

    /// The request that should have had its first token first, even if nothing were cached: when it began, and how
    /// many milliseconds that would take.
    pub fn due(&self) -> Option<(Tick, f64)> {
        let open = |e: &&Entry| e.streams && e.head.is_none();
        let due = self
            .entries
            .iter()
            .filter(open)
            .filter_map(|e| Some((e.begun?, e.patience)));
        due.min_by(|a, b| (a.0.0 as f64 + a.1 * 1e6).total_cmp(&(b.0.0 as f64 + b.1 * 1e6)))
    }

    /// Whether some request has waited for its answer far longer than its prefill takes.
    pub fn someone_waits(&self, now: Tick) -> bool {
        self.entries.iter().any(|e| {
            let waited = now.since(e.sent).as_millis_f64();
            e.streams && e.head.is_none() && waited > 2.0 * e.prefill + 20.0
        })
    }

    /// Milliseconds until a request that is sent now begins, if `before` requests must go first and `share` of
    /// those that go are ours (others may use the engine too). `service` is the mean time a seat is taken.
    pub fn wait<'a>(
        &mut self,
        now: Tick,
        before: f64,
        seats: f64,
        service: f64,
        share: f64,
        answer: impl Fn(usize) -> Answer<'a>,
    ) -> f64 {
        let goal = before - EARLY;
        if self.entries.is_empty() || share <= 0.0 {
            return goal * service / seats;
        }
        for entry in &mut self.entries {
            entry.begins = f64::INFINITY;
        }
        let mut step = (before * service / seats / STEPS).max(0.5);
        let (mut at, mut gone, mut beginning) = (0.0, 0.0, 0.0);
        for taken in 0..MOST_STEPS {
            let next = at + step;
            let mut sum = 0.0;
            for entry in &self.entries {
                if entry.begun.is_some() || entry.begins < next {
                    sum += entry.gone(now, next, &answer(entry.model));
                }
            }
            let sum = (sum / share).max(gone);
            let reach = |goal: f64| at + step * ((goal - gone) / (sum - gone)).clamp(0.0, 1.0);
            let waiting = |entry: &&mut Entry| entry.begun.is_none() && entry.begins.is_infinite();
            for entry in self.entries.iter_mut().filter(waiting) {
                if sum < beginning + 1.0 - EARLY {
                    break;
                }
                entry.begins = reach(beginning + 1.0 - EARLY);
                beginning += 1.0;
            }
            if sum >= goal {
                return reach(goal);
            }
            (at, gone) = (next, sum);
            if f64::from(taken) > 2.0 * STEPS {
                step *= 1.25;
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected_ttft::lengths::Lengths;

    const fn millis(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    fn survival(lengths: impl Iterator<Item = f64>) -> Survival {
        let (mut all, to) = (Lengths::default(), Survival::default());
        for length in lengths {
            all.learn(length);
        }
        all.publish(&to);
        to
    }

    fn entry(sent: u64, head: Option<u64>, seats_free: bool) -> Entry {
        Entry {
            sent: millis(sent),
            begun: seats_free.then_some(millis(sent)),
            head: head.map(millis),
            streams: true,
            prefill: 50.0,
            most: 1e9,
            ..Entry::default()
        }
    }

    /// The wait behind answers that began at these times, 100 tokens of 10 ms each, at 1,000 ms.
    fn wait(heads: &[u64], queued: usize) -> f64 {
        let survival = survival((0..2_000).map(|_| 100.0));
        let mut queue = Queue::default();
        for &head in heads {
            queue.push(entry(head - 50, Some(head), true));
        }
        for _ in 0..queued {
            queue.push(entry(990, None, false));
        }
        let answer = |_| Answer {
            survival: &survival,
            token_millis: 10.0,
        };
        let seats = heads.len() as f64;
        queue.wait(
            millis(1_000),
            queued as f64 + 1.0,
            seats,
            1_050.0,
            1.0,
            answer,
        )
    }

    #[test]
    fn the_oldest_answer_makes_room_first() {
        let waits = [
            wait(&[100, 600], 0),
            wait(&[600, 600], 0),
            wait(&[900, 900], 0),
        ];
        assert!((20.0..220.0).contains(&waits[0]), "{waits:?}");
        assert!((450.0..750.0).contains(&waits[1]), "{waits:?}");
        assert!((750.0..1_050.0).contains(&waits[2]), "{waits:?}");
    }

    #[test]
    fn those_who_wait_go_first_and_their_answers_take_time_too() {
        let waits: Vec<f64> = (0..6).map(|queued| wait(&[300, 700], queued)).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        // Two seats: the third in line waits for one of the first two to be served.
        assert!(waits[2] > 1_050.0, "{waits:?}");
        assert!(waits[4] > 2_000.0, "{waits:?}");
    }

    #[test]
    fn seats_are_taken_in_order() {
        let mut queue = Queue::default();
        let numbers: Vec<u32> = (0..4)
            .map(|at| queue.push(entry(at, None, false)))
            .collect();
        queue.begin(2.0, millis(9));
        let begun = |queue: &Queue| queue.entries().iter().filter(|e| e.begun.is_some()).count();
        assert_eq!(begun(&queue), 2);
        queue.remove(numbers[0]);
        queue.begin(2.0, millis(20));
        assert_eq!(
            queue.get(numbers[2]).and_then(|e| e.begun),
            Some(millis(20))
        );
        assert_eq!(begun(&queue), 2);
        queue.begin(f64::INFINITY, millis(21));
        assert_eq!(begun(&queue), 3);
    }

    #[test]
    fn with_nothing_known_the_wait_is_a_share_of_a_service() {
        let answer = |_| unreachable!("nobody is under way");
        let wait = Queue::default().wait(millis(5), 2.0, 4.0, 1_000.0, 0.0, answer);
        assert!((300.0..500.0).contains(&wait), "{wait}");
    }
}
