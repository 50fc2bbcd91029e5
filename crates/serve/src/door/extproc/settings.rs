//! What all streams of the picker's door share.

use std::sync::atomic::{AtomicUsize, Ordering};

/// In which form requests are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ErrorFormat {
    /// Plain text in the reference's words.
    #[default]
    Reference,
    /// An OpenAI error object.
    OpenAi,
}

/// Settings of the door, and how many streams are open.
#[derive(Debug)]
pub struct Settings {
    /// In which form requests are refused.
    pub error_format: ErrorFormat,
    /// Whether the candidates' scores are told to the gateway.
    pub emit_scores: bool,
    /// Whether the gateway may narrow the candidates.
    pub subset_hint: bool,
    /// Whether streams are counted and timed.
    pub stream_metrics: bool,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Largest message that is taken, in bytes.
    pub max_message: usize,
    open: AtomicUsize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            error_format: ErrorFormat::default(),
            emit_scores: false,
            subset_hint: true,
            stream_metrics: false,
            max_body: 32 << 20,
            max_message: 4 << 20,
            open: AtomicUsize::new(0),
        }
    }
}

impl Settings {
    /// Streams that are open. Relaxed: nothing is ordered by it.
    pub fn open_streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A stream was opened.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream was closed.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
