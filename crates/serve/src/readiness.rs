//! Whether new requests are welcome: all that this depends on, in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A question that is asked anew each time.
pub type Question = Arc<dyn Fn() -> bool + Send + Sync>;

/// The parts of readiness. Each has one writer.
#[derive(Clone, Default)]
pub struct Readiness {
    /// The doors are open: started, and not draining.
    pub serving: Arc<AtomicBool>,
    /// Discovery knows the pool; `None` where nothing has to be waited for.
    pub synced: Option<Arc<AtomicBool>>,
    /// This process leads; `None` where no leader is elected.
    pub leading: Option<Arc<AtomicBool>>,
    /// The plan's parsers read what the pool's endpoints speak; `None` where no pool says what they do.
    pub understood: Option<Question>,
}

impl Readiness {
    /// Whether new requests are welcome.
    pub fn is_ready(&self) -> bool {
        self.missing().is_none()
    }

    /// What is missing to that.
    pub fn missing(&self) -> Option<&'static str> {
        let holds = |part: &Option<Arc<AtomicBool>>| {
            part.as_ref()
                .is_none_or(|part| part.load(Ordering::Acquire))
        };
        if !self.serving.load(Ordering::Acquire) {
            Some("starting or draining")
        } else if !holds(&self.synced) {
            Some("the pool has not been seen yet")
        } else if self.understood.as_ref().is_some_and(|ask| !ask()) {
            Some("a parser of the configuration does not read the pool's appProtocol")
        } else if !holds(&self.leading) {
            Some("another picker leads")
        } else {
            None
        }
    }

    /// Whether the service of this name is being served; `None` where there is no such service. Where a leader is
    /// elected, a standby is alive, and not ready.
    pub fn serves(&self, service: &str) -> Option<bool> {
        match service {
            _ if self.leading.is_none() => Some(self.is_ready()),
            "liveness" => Some(true),
            "" | "readiness" | "envoy.service.ext_proc.v3.ExternalProcessor" => {
                Some(self.is_ready())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(value: bool) -> Arc<AtomicBool> {
        Arc::new(AtomicBool::new(value))
    }

    #[test]
    fn every_part_has_to_hold() {
        let mut ready = Readiness::default();
        assert_eq!(ready.missing(), Some("starting or draining"));
        ready.serving = flag(true);
        assert!(ready.is_ready());
        ready.synced = Some(flag(false));
        assert!(!ready.is_ready());
        ready.synced = Some(flag(true));
        ready.understood = Some(Arc::new(|| false));
        let missing = ready.missing().unwrap_or_default();
        assert!(missing.contains("appProtocol"), "{missing}");
        ready.understood = Some(Arc::new(|| true));
        assert!(ready.is_ready());
        ready.leading = Some(flag(false));
        assert_eq!(ready.missing(), Some("another picker leads"));
    }

    #[test]
    fn a_standby_is_alive_and_not_ready() {
        let mut ready = Readiness {
            serving: flag(true),
            ..Readiness::default()
        };
        assert_eq!(ready.serves("anything"), Some(true));
        ready.leading = Some(flag(false));
        for service in [
            "",
            "readiness",
            "envoy.service.ext_proc.v3.ExternalProcessor",
        ] {
            assert_eq!(ready.serves(service), Some(false), "{service}");
        }
        assert_eq!(ready.serves("liveness"), Some(true));
        assert_eq!(ready.serves("anything"), None);
    }
}
