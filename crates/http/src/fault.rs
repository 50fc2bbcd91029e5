//! A switch that makes a server misbehave on purpose, for tests and demonstrations.
//!
//! What each fault does is written at its variant. A server looks at the switch once per request; with no fault on that look is one
//! atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The ways in which a server can be told to misbehave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    /// Works as it should.
    #[default]
    None,
    /// Connections are refused and those that live are reset.
    Down,
    /// Takes this many times as long as it would. The handler reads and honours it, not the server.
    Slow(f64),
    /// Connections and requests are accepted, but a request that arrives now is never answered, not even later.
    Hang,
    /// `GET /metrics` answers 404.
    MetricsNotFound,
    /// Every answer breaks off by a connection reset: after its first frame, or half of it where its length is known.
    DieMidStream,
}

/// The switch, shared by whoever sets faults and the server that honours them.
#[derive(Clone, Debug)]
pub struct FaultSwitch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fault: watch::Sender<Fault>,
    any: AtomicBool,
}

impl Default for FaultSwitch {
    fn default() -> Self {
        Self(Arc::new(Inner {
            fault: watch::Sender::new(Fault::None),
            any: AtomicBool::new(false),
        }))
    }
}

impl FaultSwitch {
    /// Switches a fault on, in place of the one before.
    pub fn set(&self, fault: Fault) {
        // Both change under the channel's lock and before anybody is told: a server that wakes and looks must find the fault.
        self.0.fault.send_modify(|current| {
            *current = fault;
            self.0.any.store(fault != Fault::None, Ordering::Release);
        });
    }

    /// Back to normal.
    pub fn clear(&self) {
        self.set(Fault::None);
    }

    /// The fault that is on now.
    pub fn current(&self) -> Fault {
        if self.0.any.load(Ordering::Acquire) {
            *self.0.fault.borrow()
        } else {
            Fault::None
        }
    }

    /// A view that can wait for changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Fault> {
        self.0.fault.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Whoever is woken by a change finds the fault, however the threads interleave.
    #[test]
    fn a_fault_is_there_when_its_change_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for _ in 0..2_000 {
            let switch = FaultSwitch::default();
            let mut changes = switch.watch();
            let setter = switch.clone();
            let thread = std::thread::spawn(move || setter.set(Fault::Down));
            runtime.block_on(changes.changed()).unwrap();
            assert_eq!(switch.current(), Fault::Down);
            thread.join().unwrap();
        }
    }
}
