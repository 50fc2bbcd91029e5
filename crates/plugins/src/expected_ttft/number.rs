//! One published number: written by whoever learned it, read by every pick without waiting.

use std::sync::atomic::{AtomicU32, Ordering};

/// A number that several threads read and write. A reader may see the value before the last one.
#[derive(Debug, Default)]
pub struct Number(AtomicU32);

impl Number {
    /// Begins with this value.
    pub const fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from(f32::from_bits(self.0.load(Ordering::Relaxed)))
    }

    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store((value as f32).to_bits(), Ordering::Relaxed);
    }
}
