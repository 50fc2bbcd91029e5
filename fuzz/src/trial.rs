//! One run of a target: its shape, or how it failed.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};

use crate::target::Target;

/// The processor time that a run may take, in seconds. Inputs are small and builds for fuzzing are slow; a parser that
/// needs more than this needs minutes for a body of the size that is served.
pub const MOST_SECONDS: f64 = 2.0;

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: file and line of the panic, or a word for a run that took too long. Tells failures apart.
    pub place: String,
    /// What was said.
    pub message: String,
}

/// What the last panic said.
static PANIC: Mutex<Option<Fault>> = Mutex::new(None);

/// From now on panics are noted and not printed. A run of many thousands would be nothing but backtraces.
pub fn silence() {
    set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, ToString::to_string);
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()))
            .unwrap_or_default();
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(Fault { place, message });
    }));
}

/// Runs the target on an input.
///
/// # Errors
/// It panicked, or took too long.
pub fn run(target: &Target, input: &[u8]) -> Result<u64, Fault> {
    let begun = seconds();
    let shape = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|_| {
        let noted = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        noted.unwrap_or_else(|| Fault {
            place: "a panic".to_owned(),
            message: "run it alone to see what it says".to_owned(),
        })
    })?;
    let taken = seconds() - begun;
    if taken > MOST_SECONDS {
        return Err(Fault {
            place: "too slow".to_owned(),
            message: format!("{} bytes took {taken:.1} s of processor time", input.len()),
        });
    }
    Ok(shape)
}

/// Processor time of this thread: the machine's other work does not count.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
