//! One immutable, numbered membership of a pool: rows are endpoints.

use crate::model::endpoint::Endpoint;
use crate::model::slots::Slot;

/// The endpoints of a pool at one moment. A request keeps the snapshot it started with.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts the changes of membership.
    pub generation: u64,
    /// Row order; a row number means an index into this list.
    pub endpoints: Vec<Endpoint>,
    slots: Vec<Slot>,
}

impl Snapshot {
    /// A membership of these endpoints, in this order.
    pub fn new(generation: u64, endpoints: Vec<Endpoint>) -> Self {
        let slots = endpoints.iter().map(|e| e.slot).collect();
        Self {
            generation,
            endpoints,
            slots,
        }
    }

    /// The part of this membership that `keep` holds of, in the same order, under the same number.
    pub fn narrowed(&self, keep: impl Fn(&Endpoint) -> bool) -> Self {
        let kept = self.endpoints.iter().filter(|endpoint| keep(endpoint));
        Self::new(self.generation, kept.cloned().collect())
    }

    /// The slot of every row: what filling a column walks over.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether no endpoint is known.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The row of the endpoint with this full name.
    pub fn row_of(&self, name: &str) -> Option<usize> {
        self.endpoints.iter().position(|e| e.name.as_ref() == name)
    }
}
