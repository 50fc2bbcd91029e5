//! Carrying a request through the first prefill engine that does its part, or past all of them.

use std::time::Duration;

use tokio::time::Instant;

use crate::handoff::leg::{Engine, LegFailure};
use crate::handoff::{Carried, HandoffFailure, Limits, Order, carry, carry_locally};

/// What is done after a prefill engine has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one is asked.
    Another,
    /// Decode computes the prompt itself.
    Locally,
    /// Nothing.
    Nothing,
}

/// How much is tried for a prefill.
pub struct Prefilling<'a> {
    /// How long all prefill legs may take together.
    pub within: Duration,
    /// Whether decode computes the prompt itself when no prefill engine did its part.
    pub else_locally: bool,
    /// Hears of each prefill engine that failed, and what is done then.
    pub failed: &'a mut (dyn FnMut(&LegFailure, Next) + Send),
}

/// Has `decode` answer, after the first of `prefills` that computes the prompt. Without any of them decode computes it itself, and is
/// told nothing of a transfer: neither by an id that names a pair nor by what the client wrote into the body.
///
/// # Errors
/// [`HandoffFailure`].
pub async fn through<'e>(
    order: &Order<'_>,
    prefills: impl Iterator<Item = Engine<'e>>,
    decode: Engine<'_>,
    prefilling: Prefilling<'_>,
) -> Result<Carried, HandoffFailure> {
    let until = Instant::now() + prefilling.within;
    let mut prefills = prefills.peekable();
    let mut last = None;
    while let Some(prefill) = prefills.next() {
        let order = Order {
            limits: Limits {
                prefill: until.saturating_duration_since(Instant::now()),
                ..order.limits
            },
            ..*order
        };
        let failure = match carry(&order, prefill, decode).await {
            Err(HandoffFailure::Prefill(failure)) => failure,
            other => return other,
        };
        let in_time = Instant::now() < until && failure.is_curable_elsewhere();
        let next = match prefilling.else_locally {
            _ if in_time && prefills.peek().is_some() => Next::Another,
            true => Next::Locally,
            false => Next::Nothing,
        };
        (prefilling.failed)(&failure, next);
        last = Some(failure);
        if next != Next::Another {
            break;
        }
    }
    if prefilling.else_locally {
        let because = last.map(|failure| failure.mishap());
        return Box::pin(carry_locally(order, decode, because)).await;
    }
    let none = || LegFailure::Unresolved("there is no prefill engine".to_owned());
    Err(HandoffFailure::Prefill(last.unwrap_or_else(none)))
}
