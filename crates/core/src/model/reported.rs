//! What engines report beyond plain gauges: LoRA adapters, and values that a configuration names.
//!
//! One entry per slot. It is written when a scrape finds something else than before and read by few plugins, so it
//! stands behind a lock whose readers do not exclude each other; the gauges that every plan reads are in
//! [`crate::model::slots`].

use std::sync::{Arc, PoisonError};

// The reason for the exception: the lists have no fixed size, and a reader waits only for the rare writer.
#[allow(clippy::disallowed_types)]
use std::sync::RwLock;

/// The LoRA adapters of an engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoraAdapters {
    /// Adapters with requests that run.
    pub running: Vec<String>,
    /// Adapters with requests that wait.
    pub waiting: Vec<String>,
    /// How many adapters may run at once.
    pub most: u32,
}

/// What one engine reports.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reported {
    /// Its adapters; `None` where it says nothing of them.
    pub lora: Option<LoraAdapters>,
    /// Values by the names that the configuration gives them.
    pub attributes: Vec<(Arc<str>, f64)>,
}

impl Reported {
    /// The value of this name.
    pub fn attribute(&self, name: &str) -> Option<f64> {
        let found = self.attributes.iter().find(|(known, _)| &**known == name)?;
        Some(found.1)
    }
}

/// The reports of all slots, by slot number.
#[allow(clippy::disallowed_types)]
pub struct Reports(Box<[RwLock<Reported>]>);

impl Reports {
    /// Empty reports for `capacity` endpoints.
    #[allow(clippy::disallowed_types)]
    pub fn new(capacity: usize) -> Self {
        Self((0..capacity).map(|_| RwLock::default()).collect())
    }

    /// Looks at the report of `slot`.
    pub fn look<T>(&self, slot: u32, look: impl FnOnce(&Reported) -> T) -> T {
        let lock = &self.0[slot as usize];
        look(&lock.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the report of `slot`, if it is another one.
    pub fn set(&self, slot: u32, reported: Reported) {
        if !self.look(slot, |known| *known == reported) {
            let lock = &self.0[slot as usize];
            *lock.write().unwrap_or_else(PoisonError::into_inner) = reported;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_replaced_whole() {
        let reports = Reports::new(2);
        let reported = Reported {
            lora: Some(LoraAdapters::default()),
            attributes: vec![("gpu".into(), 0.5)],
        };
        reports.set(1, reported);
        assert_eq!(reports.look(1, |r| r.attribute("gpu")), Some(0.5));
        assert_eq!(reports.look(1, |r| r.attribute("cpu")), None);
        reports.set(1, Reported::default());
        assert_eq!(reports.look(1, |r| r.attribute("gpu")), None);
        assert!(reports.look(0, |r| r.lora.is_none()));
    }
}
