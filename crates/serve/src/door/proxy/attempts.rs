//! Which engines a request is carried to, one after another, and what happens without a prefill.
//!
//! For up to two decode engines: every prefill engine in turn while the stage's time lasts; then, by policy, decode alone or an error.
//! Another decode engine gets a fresh prefill under a fresh id: what the first one was told cannot be told twice.

use std::time::Duration;

use http::HeaderValue;
use pointsman_wire::handoff::transfer::NoTransfer;

use crate::door::proxy::config::{OnPrefillFailure, ProxyConfig};
use crate::door::proxy::station::{Stage, Station};
use crate::handoff::leg::{LegFailure, Mishap};
use crate::handoff::through::{Next, Prefilling, through};
use crate::handoff::{Carried, HandoffFailure, Order};

/// How many decode engines a request is carried to at most.
const DECODES: usize = 2;

/// The engines of a request and what to do with them.
pub(crate) struct Attempts<'a> {
    pub(crate) config: &'a ProxyConfig,
    pub(crate) prefills: &'a Stage,
    pub(crate) decodes: &'a Stage,
    /// The prefill engine that somebody upstream chose, as `host:port`.
    pub(crate) wanted: Option<&'a str>,
    /// The id that the client knows the request by.
    pub(crate) request_id: &'a HeaderValue,
    /// The whole prefill stage.
    pub(crate) prefill_timeout: Duration,
}

/// Engines that were tried without success.
pub(crate) struct Exhausted {
    pub(crate) failure: HandoffFailure,
    pub(crate) tried: usize,
}

impl Attempts<'_> {
    /// Carries a request until an engine answers.
    ///
    /// # Errors
    /// The last failure, when nothing else is left to try.
    pub(crate) async fn carry(&self, order: &Order<'_>) -> Result<Carried, Exhausted> {
        let mut decodes = self.decodes.round(None).take(DECODES).peekable();
        let mut tried = 0;
        while let Some(decode) = decodes.next() {
            let failure = match self.through_prefills(order, decode, &mut tried).await {
                Ok(carried) => {
                    self.note(&carried);
                    return Ok(carried);
                }
                Err(failure) => failure,
            };
            if let HandoffFailure::Decode(leg) = &failure {
                tried += 1;
                self.config.tally.decode_failed();
                if leg.is_curable_elsewhere() && decodes.peek().is_some() {
                    self.config.tally.decode_retried();
                    self.warn(
                        "decode failed, another one is tried with a fresh prefill",
                        leg,
                    );
                    continue;
                }
                self.warn("decode failed", leg);
            }
            return Err(Exhausted { failure, tried });
        }
        let none = LegFailure::Unresolved("there is no decode engine".to_owned());
        Err(Exhausted {
            failure: HandoffFailure::Decode(none),
            tried,
        })
    }

    /// One decode engine, with the first prefill engine that does its part, or without.
    async fn through_prefills(
        &self,
        order: &Order<'_>,
        decode: &Station,
        tried: &mut usize,
    ) -> Result<Carried, HandoffFailure> {
        let mut failed = |failure: &LegFailure, next: Next| {
            *tried += 1;
            self.config.tally.prefill_failed(failure.mishap());
            let what = match next {
                Next::Another => "prefill failed, the next one is tried",
                Next::Locally => "prefill failed, decode computes the prompt itself",
                Next::Nothing => "prefill failed",
            };
            self.warn(what, failure);
        };
        let prefilling = Prefilling {
            within: self.prefill_timeout,
            else_locally: self.config.on_prefill_failure == OnPrefillFailure::Local,
            failed: &mut failed,
        };
        let prefills = self.prefills.round(self.wanted).map(Station::engine);
        through(order, prefills, decode.engine(), prefilling).await
    }

    /// Counts what an answer took.
    fn note(&self, carried: &Carried) {
        let tally = &self.config.tally;
        if carried.redone > 0 {
            tally.prefills_redone(carried.redone);
        }
        let Some(mishap) = carried.local else { return };
        tally.fell_back(mishap);
        if mishap == Mishap::MissingParams {
            tally.prefill_failed(mishap);
            let why = LegFailure::NoTransfer(carried.missing.unwrap_or(NoTransfer::Missing));
            self.warn(
                "prefill was of no use, decode computes the prompt itself",
                &why,
            );
        }
    }

    fn warn(&self, what: &str, why: &LegFailure) {
        if self.config.on_warning.is_some() {
            let (name, id) = (&self.config.name, self.request_id.to_str().unwrap_or("-"));
            self.config
                .warn(&format!("{what}: {why} (proxy {name}, request {id})"));
        }
    }
}
