//! How fast the mock answers; one for all endpoints, set while running.

use std::cell::Cell;
use std::time::Duration;

/// Times between request, first token and the other tokens.
#[derive(Debug)]
pub(crate) struct Pace {
    ttft: Cell<Duration>,
    itl: Cell<Duration>,
}

impl Pace {
    pub(crate) fn new(ttft: Duration, itl: Duration) -> Self {
        Self {
            ttft: Cell::new(ttft),
            itl: Cell::new(itl),
        }
    }

    pub(crate) fn ttft(&self) -> Duration {
        self.ttft.get()
    }

    pub(crate) fn itl(&self) -> Duration {
        self.itl.get()
    }

    /// Takes over what a query like `ttft_us=5000&itl_us=0` names; false when it holds something else.
    pub(crate) fn set(&self, query: &str) -> bool {
        query.split('&').all(|pair| {
            let Some((key, micros)) = pair.split_once('=') else {
                return false;
            };
            let Ok(micros) = micros.parse() else {
                return false;
            };
            match key {
                "ttft_us" => self.ttft.set(Duration::from_micros(micros)),
                "itl_us" => self.itl.set(Duration::from_micros(micros)),
                _ => return false,
            }
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_what_is_named() {
        let pace = Pace::new(Duration::ZERO, Duration::from_micros(7));
        assert!(pace.set("ttft_us=5000"));
        assert_eq!(pace.ttft(), Duration::from_millis(5));
        assert_eq!(pace.itl(), Duration::from_micros(7));
        assert!(!pace.set("speed=9") && !pace.set("") && !pace.set("itl_us=x"));
    }
}
