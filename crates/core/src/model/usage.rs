//! What an engine says a request used.

/// What the engine reports of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Tokens of the prompt found in the engine's prefix cache; `None` where the engine does not say.
    pub cached_tokens: Option<u32>,
}
