//! Verdicts that are still good. Of tokens only their digests are kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::access::verdict::Verdict;

/// How many are kept; when there are more, those that end first go first.
const MOST: usize = 1024;

/// How long a reader who may goes on without being asked for again, as with the reference's tokens.
const ALLOWED: Duration = Duration::from_secs(60);
/// How long one who may not is turned away without a question; short, since rights are granted when somebody sees that.
const REFUSED: Duration = Duration::from_secs(10);
/// How long the API server is left alone after it did not answer.
const UNANSWERED: Duration = Duration::from_secs(1);

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; SHA256_OUTPUT_LEN]);

impl Key {
    pub(super) fn new(token: &str, verb: &str, path: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [token, verb, path] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

/// What was said, and until when it counts.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<Key, (Verdict, Instant)>>);

impl Memory {
    /// What was said to this, if that still counts.
    pub(super) fn recall(&self, key: &Key, now: Instant) -> Option<Verdict> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (verdict, until) = known.get(key)?;
        (*until > now).then(|| verdict.clone())
    }

    /// Remembers what was said.
    pub(super) fn keep(&self, key: Key, verdict: Verdict, now: Instant) {
        let good_for = match verdict {
            Verdict::Allowed => ALLOWED,
            Verdict::Unknown | Verdict::Denied { .. } => REFUSED,
            Verdict::Unanswered { .. } => UNANSWERED,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&key) {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() >= MOST && !known.contains_key(&key) {
            let first = known.iter().min_by_key(|(_, (_, until))| *until);
            let first = first.map(|(key, _)| key.clone());
            if let Some(first) = first {
                known.remove(&first);
            }
        }
        known.insert(key, (verdict, now + good_for));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: &str) -> Key {
        Key::new(token, "get", "/metrics")
    }

    #[test]
    fn a_verdict_counts_for_its_time_and_for_its_question() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.keep(key("a"), Verdict::Allowed, now);
        memory.keep(key("b"), Verdict::Unknown, now);
        let just = |span: Duration| now + span - Duration::from_millis(1);
        assert_eq!(
            memory.recall(&key("a"), just(ALLOWED)),
            Some(Verdict::Allowed)
        );
        assert_eq!(memory.recall(&key("a"), now + ALLOWED), None);
        assert_eq!(
            memory.recall(&key("b"), just(REFUSED)),
            Some(Verdict::Unknown)
        );
        assert_eq!(memory.recall(&key("b"), now + REFUSED), None);
        for other in [
            Key::new("a", "head", "/metrics"),
            Key::new("a", "get", "/debug/plan"),
            Key::new("ag", "et", "/metrics"),
        ] {
            assert_eq!(memory.recall(&other, now), None);
        }
    }

    #[test]
    fn made_up_tokens_take_no_more_room_than_there_is_and_push_out_no_reader() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.keep(key("reader"), Verdict::Allowed, now);
        for number in 0..3 * MOST {
            memory.keep(key(&number.to_string()), Verdict::Unknown, now);
        }
        let kept = memory
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        assert_eq!(kept, MOST);
        assert_eq!(memory.recall(&key("reader"), now), Some(Verdict::Allowed));
        let last = (3 * MOST - 1).to_string();
        assert_eq!(memory.recall(&key(&last), now), Some(Verdict::Unknown));
    }
}
