//! Why a custom resource cannot be followed.

/// A broken rule: a reason for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The condition's reason, as `EnvoyFilterNeedsEPP`.
    pub reason: &'static str,
    /// Which field, and what would be right.
    pub message: String,
}

impl Invalid {
    /// A broken rule.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// A value that its field does not take.
    pub fn value(message: impl Into<String>) -> Self {
        Self::new("InvalidValue", message)
    }
}
