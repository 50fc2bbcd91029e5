//! Where log lines go: a bounded queue and one thread that writes, so that a slow terminal never slows a request.
//!
//! A line can be waited for ([`Sink::written`]): the gateway does so before it answers, so that a decision
//! is on record before its client has the answer. Lines beyond the queue or the rate are dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Lines that may wait; at some 600 bytes each about 5 MB at most.
const QUEUE: usize = 8192;

/// Longest wait for a line to be written; a stuck terminal delays an answer by no more than this.
const PATIENCE: Duration = Duration::from_millis(250);

/// At the end a destination that has taken nothing for so long is left. Generous: on a starved machine the thread that writes may
/// be late, and the last lines matter.
const STUCK: Duration = Duration::from_secs(10);

/// The place of a line in the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

/// A log destination.
pub struct Sink {
    queue: Option<SyncSender<String>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queued: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    progress: Notify,
}

impl Sink {
    /// A sink that writes to `out` from a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(out: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&lines, out, &for_thread))?;
        Ok(Self {
            queue: Some(queue),
            shared,
            thread: Some(thread),
        })
    }

    /// Queues a line, which ends in a newline. `None`: the queue is full and the line is dropped.
    pub fn submit(&self, line: String) -> Option<Ticket> {
        let queue = self.queue.as_ref()?;
        match queue.try_send(line) {
            Ok(()) => Some(Ticket(
                self.shared.queued.fetch_add(1, Ordering::AcqRel) + 1,
            )),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Counts a line that was not even made because of the rate.
    pub fn count_dropped(&self) {
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the line has been written (a quarter of a second at most).
    /// Lines of several workers may overtake each other by one; the wait covers all queued before.
    pub async fn written(&self, ticket: Ticket) {
        let done = || self.shared.written.load(Ordering::Acquire) >= ticket.0;
        if done() {
            return;
        }
        let wait = async {
            loop {
                let progress = self.shared.progress.notified();
                if done() {
                    return;
                }
                progress.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, wait).await;
    }
}

impl Drop for Sink {
    /// Writes what is queued, then ends the thread; a terminal that takes nothing is not waited for.
    fn drop(&mut self) {
        self.queue = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        let (mut written, mut still) = (u64::MAX, Instant::now());
        while !thread.is_finished() && still.elapsed() < STUCK {
            let now = self.shared.written.load(Ordering::Acquire);
            if now != written {
                (written, still) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

fn write_lines(lines: &Receiver<String>, mut out: Box<dyn Write + Send>, shared: &Shared) {
    let mut batch = String::new();
    while let Ok(first) = lines.recv() {
        batch.clear();
        batch.push_str(&first);
        let mut count = 1;
        while batch.len() < 64 * 1024 {
            let Ok(line) = lines.try_recv() else { break };
            batch.push_str(&line);
            count += 1;
        }
        // A reader that went away must not end the server: the lines are lost, the requests are not.
        let _ = out.write_all(batch.as_bytes()).and_then(|()| out.flush());
        shared.written.fetch_add(count, Ordering::AcqRel);
        shared.progress.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_waited_for_has_been_written() {
        let memory = Memory::default();
        let sink = Sink::start(Box::new(memory.clone())).unwrap();
        for n in 0..500 {
            let ticket = sink.submit(format!("line {n}\n")).unwrap();
            sink.written(ticket).await;
            let text = String::from_utf8(memory.0.lock().clone()).unwrap();
            assert!(text.ends_with(&format!("line {n}\n")), "{n}");
        }
        assert_eq!(sink.dropped(), 0);
    }

    #[test]
    fn dropping_the_sink_writes_what_is_queued() {
        let memory = Memory::default();
        let sink = Sink::start(Box::new(memory.clone())).unwrap();
        for n in 0..100 {
            sink.submit(format!("{n}\n")).unwrap();
        }
        drop(sink);
        assert_eq!(memory.0.lock().iter().filter(|b| **b == b'\n').count(), 100);
    }

    /// A terminal that takes nothing until its other end is dropped.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_does_not_keep_the_process() {
        let (end, stuck) = sync_channel(0);
        let sink = Sink::start(Box::new(Stuck(stuck))).unwrap();
        sink.submit("lost\n".to_owned()).unwrap();
        drop(sink);
        drop(end);
    }
}
