//! Reads a configuration again when it changes, and hands over the new plan or what is wrong with it.
//!
//! The file's bytes are compared several times a second, so it does not matter whether it is written in place,
//! renamed over, or swapped as the mounted ConfigMap that a symbolic link points into. Bytes count once they have
//! stood still for a moment (or have kept changing for a second), so a file that is being written is not judged
//! half-way. A file that is gone or refused leaves the plan in force; each state of the file is told once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman_core::config::fault::Fault;
use pointsman_core::config::resolved::Resolved;

use crate::plan::text_of;

/// How the file is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two looks.
    pub interval: Duration,
    /// How long bytes must stand still to count.
    pub settle: Duration,
    /// Bytes that keep changing are taken after this many tries.
    pub tries: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            settle: Duration::from_millis(25),
            tries: 40,
        }
    }
}

/// What became of a change.
pub enum Change {
    /// A new plan, with what was noticed on the way.
    Plan(Box<Resolved>),
    /// The file is refused, for these reasons.
    Refused(Vec<Fault>),
}

/// What a look at the file found.
#[derive(Clone, PartialEq, Eq)]
enum Look {
    Text(String),
    Gone(String),
}

fn look(path: &Path) -> Look {
    match text_of(path) {
        Ok(text) => Look::Text(text),
        Err(fault) => Look::Gone(fault.message),
    }
}

/// Watches the file at `path` until dropped. `text` is what the plan in force was made from; `resolve` makes a plan
/// of a new text; `tell` is called for each change, in order.
pub async fn watch(
    path: PathBuf,
    text: String,
    pace: Pace,
    resolve: impl Fn(&str) -> Result<Resolved, Vec<Fault>>,
    tell: impl Fn(Change),
) {
    let mut known = Look::Text(text);
    loop {
        tokio::time::sleep(pace.interval).await;
        let mut found = look(&path);
        if found == known {
            continue;
        }
        for _ in 0..pace.tries {
            tokio::time::sleep(pace.settle).await;
            let again = look(&path);
            if again == found {
                break;
            }
            found = again;
        }
        if found == known {
            continue;
        }
        let change = match &found {
            Look::Text(text) => match resolve(text) {
                Ok(resolved) => Change::Plan(Box::new(resolved)),
                Err(faults) => Change::Refused(faults),
            },
            Look::Gone(why) => Change::Refused(vec![Fault::error("", why.clone())]),
        };
        tell(change);
        known = found;
    }
}
