//! Which prompts a prefill server has computed, by request id: what a decode server asks for.
//!
//! Servers of one process share one registry. Between processes the decode server asks
//! `GET /admin/transfer/<id>` of its peer. A record is not used up by being read, so that a repeated
//! decode finds it again; the oldest go when there are too many.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

/// Most records: about 3 MiB.
const MOST: usize = 16_384;

/// Finished prefills by request id. Clones share the records.
#[derive(Clone, Debug, Default)]
pub struct TransferRegistry(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    tokens: HashMap<Arc<str>, u32>,
    order: VecDeque<Arc<str>>,
}

impl TransferRegistry {
    /// Notes that the prompt of request `id`, `tokens` long, is computed.
    pub fn record(&self, id: &str, tokens: u32) {
        let mut records = self.0.lock();
        let id: Arc<str> = id.into();
        if records.tokens.insert(id.clone(), tokens).is_none() {
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
        self.0.lock().tokens.get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
