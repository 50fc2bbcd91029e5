//! Bounds of the gateway.

use std::time::Duration;

use pointsman_core::config::own::OwnSettings;
use pointsman_core::time::Span;

/// Bounds of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Longest pause while a request body is read.
    pub body_idle: Duration,
    /// Longest wait for the head of an answer, per attempt.
    pub first_byte: Duration,
    /// Longest pause within an answer.
    pub answer_idle: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            max_body: 32 << 20,
            body_idle: Duration::from_secs(30),
            first_byte: Duration::from_secs(300),
            answer_idle: Duration::from_secs(300),
        }
    }
}

impl GatewayLimits {
    /// These bounds, where the settings of the plan say nothing else.
    pub fn under(self, own: &OwnSettings) -> Self {
        let or =
            |set: Option<Span>, default| set.map_or(default, |span| Duration::from_nanos(span.0));
        let max_body = own
            .limits
            .max_body
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self {
            max_body: max_body.unwrap_or(self.max_body),
            body_idle: or(own.timeouts.body_idle, self.body_idle),
            first_byte: or(own.timeouts.first_byte, self.first_byte),
            answer_idle: or(own.timeouts.answer_idle, self.answer_idle),
        }
    }
}
