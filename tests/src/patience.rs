//! Waiting for something that another process does, with a bound and a name.

use std::time::{Duration, Instant};

/// What any single step of a test may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within [`LONG`]; the message says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {} s in vain: {what}",
            LONG.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
