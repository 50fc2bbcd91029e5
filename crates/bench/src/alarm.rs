//! A clock that rings on the microsecond.
//!
//! The runtime's own timer has a grain of one millisecond, which is more than the latencies that are measured here.
//! On Linux an [`Alarm`] is a kernel timer read as a file; elsewhere it falls back to the runtime's timer and its grain.

use std::io;
use std::time::Instant;

/// A timer for one task at a time; make one per task and keep it.
#[derive(Debug)]
pub struct Alarm {
    #[cfg(target_os = "linux")]
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// Makes a timer that is not armed. Fails when the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // Deprecated for types that may close their file early, in favour of an unsafe function; an owned one cannot.
        #[allow(deprecated)]
        let timer = tokio::io::unix::AsyncFd::with_interest(timer, tokio::io::Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Returns at `at`, or at once when that has passed. Dropping the future leaves the timer armed; the next call
    /// arms it anew.
    pub async fn until(&self, at: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let value = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            timerfd_settime(
                self.timer.get_ref(),
                TimerfdTimerFlags::empty(),
                &Itimerspec {
                    it_interval: zero,
                    it_value: value,
                },
            )?;
            let mut ready = self.timer.readable().await?;
            // Arming clears an expiry that nobody read, so an empty read only says that this readiness was old.
            let _ = rustix::io::read(self.timer.get_ref(), &mut [0u8; 8]);
            ready.clear_ready();
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// Makes a timer.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Returns at `at`, up to a millisecond late.
    pub async fn until(&self, at: Instant) -> io::Result<()> {
        tokio::time::sleep_until(at.into()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn never_rings_early_and_can_be_set_again() {
        let alarm = Alarm::new().unwrap();
        for micros in [0, 300, 1, 700] {
            let at = Instant::now() + Duration::from_micros(micros);
            alarm.until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }
}
