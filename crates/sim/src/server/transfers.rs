//! Which prompts a prefill server has computed, by request id: what a decode server asks for.
//!
//! Servers of one process share one registry. Between processes the decode server asks
//! `GET /admin/transfer/<id>` of its peer. A record is not used up by being read, so that a repeated
//! decode finds it again; the oldest go when there are too many. A prefill server keeps its blocks for
//! a while only: the record stays, to tell that they were overwritten.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Most records: about 3 MiB.
const MOST: usize = 16_384;

/// What is known of a prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It was computed, and its KV is there.
    Kept,
    /// It was computed, and its KV was given up since.
    Overwritten,
    /// It was not computed.
    Unknown,
}

/// Finished prefills by request id. Clones share the records.
#[derive(Clone, Debug, Default)]
pub struct TransferRegistry(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    tokens: HashMap<Arc<str>, (u32, Instant)>,
    order: VecDeque<Arc<str>>,
}

impl TransferRegistry {
    /// Notes that the prompt of request `id`, `tokens` long, is computed.
    pub fn record(&self, id: &str, tokens: u32) {
        let mut records = self.0.lock();
        let id: Arc<str> = id.into();
        let record = (tokens, Instant::now());
        if records.tokens.insert(id.clone(), record).is_none() {
            records.order.push_back(id);
        }
        if records.order.len() > MOST
            && let Some(oldest) = records.order.pop_front()
        {
            records.tokens.remove(&oldest);
        }
    }

    /// How long the prompt of request `id` is, if it was computed.
    pub fn tokens(&self, id: &str) -> Option<u32> {
        self.0.lock().tokens.get(id).map(|(tokens, _)| *tokens)
    }

    /// What is known of request `id` where KV is kept for `lease`.
    pub fn find(&self, id: &str, lease: Duration) -> Found {
        match self.0.lock().tokens.get(id) {
            None => Found::Unknown,
            Some((_, at)) if at.elapsed() > lease => Found::Overwritten,
            Some(_) => Found::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_kept_for_a_while() {
        let (registry, lease) = (TransferRegistry::default(), Duration::from_secs(30));
        registry.record("a", 7);
        assert_eq!(registry.find("b", lease), Found::Unknown);
        tokio::time::sleep(lease).await;
        assert_eq!(registry.find("a", lease), Found::Kept);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(registry.find("a", lease), Found::Overwritten);
        assert_eq!(registry.tokens("a"), Some(7));
    }

    #[test]
    fn the_oldest_records_go() {
        let registry = TransferRegistry::default();
        (0..MOST + 5).for_each(|i| registry.record(&i.to_string(), i as u32));
        assert_eq!(
            (registry.tokens("4"), registry.tokens("5")),
            (None, Some(5))
        );
        registry.clone().record("5", 7);
        assert_eq!(registry.tokens("5"), Some(7));
    }
}
