//! The load client: HTTP/1.1 keep-alive connections that send OpenAI requests and time what comes back.
//!
//! A closed loop keeps a number of requests in flight; an open loop starts them at a rate, and measures each from the
//! moment it *should* have started, so that a slow answer cannot hide the ones queued behind it. A run has a warm-up,
//! a window and an end: counters count what happened inside the window, times are of requests that began inside it,
//! and whoever accounts CPU time is called at both edges. One thread. A request is sent again only when the connection
//! that it was given had been used before and ended without a byte of an answer: servers close idle connections when
//! they like, and a client cannot know before it writes.

mod answer;
mod body;
mod connection;
mod events;
mod live;
mod plan;
mod record;
pub mod rows;
mod tally;
mod work;

pub use crate::load::live::Live;
pub use crate::load::plan::{Ask, BYTES_PER_TOKEN, Pacing, Plan, Prompt, Work};
pub use crate::load::record::Record;
pub use crate::load::tally::{Outcome, Quantiles};
pub(crate) use crate::load::work::Random;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::alarm::Alarm;
use crate::load::answer::{Answer, Failure};
use crate::load::connection::Connection;
use crate::load::tally::Tally;
use crate::load::work::Writer;

/// The two ends of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The warm-up is over.
    Begin,
    /// The window is over; what is in flight is still to end.
    End,
}

/// Longest wait for the requests that are in flight at the end of the window.
const GRACE: Duration = Duration::from_secs(10);

struct Run {
    plan: Plan,
    writer: RefCell<Writer>,
    tally: RefCell<Tally>,
    /// Intended starts that no connection has taken yet; open loop only.
    waiting: RefCell<VecDeque<Instant>>,
    wake: Notify,
    /// Connections without a request, the one used last at the end: those in use stay warm, and the others may go.
    idle: RefCell<Vec<Connection>>,
    begin: Instant,
    end: Instant,
    live: Rc<Live>,
}

impl Run {
    /// Whether no further request is to start.
    fn over(&self) -> bool {
        self.live.stopped() || Instant::now() >= self.end
    }
}

/// Runs a plan on the current thread and calls `at_edge` at both ends of the window. Answers that fail are counted,
/// not returned; an error means that the run itself could not be held.
pub async fn run(plan: &Plan, at_edge: impl FnMut(Edge)) -> io::Result<Outcome> {
    run_watched(plan, at_edge, Rc::default()).await
}

/// [`run`], which others can watch and end early.
pub async fn run_watched(
    plan: &Plan,
    mut at_edge: impl FnMut(Edge),
    live: Rc<Live>,
) -> io::Result<Outcome> {
    let start = Instant::now();
    let begin = start + plan.warmup;
    let run = Rc::new(Run {
        writer: RefCell::new(Writer::new(plan)),
        tally: RefCell::new(Tally::new(begin)),
        waiting: RefCell::default(),
        wake: Notify::new(),
        idle: RefCell::default(),
        begin,
        end: begin + plan.window,
        plan: plan.clone(),
        live,
    });
    let tasks = tokio::task::LocalSet::new();
    let outcome = tasks.run_until(async {
        let connections = match plan.pacing {
            Pacing::Closed { connections }
            | Pacing::Open { connections, .. }
            | Pacing::Arrivals { connections, .. } => connections,
        };
        let alarm = Alarm::new()?;
        let workers: Vec<_> = (0..connections)
            .map(|number| tokio::task::spawn_local(work(run.clone(), number, connections)))
            .collect();
        let clock = match plan.pacing {
            Pacing::Closed { .. } => None,
            _ => Some(tokio::task::spawn_local(tick(run.clone()))),
        };

        tokio::select! {
            reached = alarm.until(run.begin) => reached?,
            () = run.live.until_stopped() => {}
        }
        run.tally.borrow_mut().open();
        at_edge(Edge::Begin);
        let opened = Instant::now();
        tokio::select! {
            reached = alarm.until(run.end) => reached?,
            () = run.live.until_stopped() => {}
        }
        at_edge(Edge::End);
        run.tally.borrow_mut().close(opened.elapsed());

        if let Some(clock) = clock {
            clock.abort();
        }
        run.wake.notify_waiters();
        let grace = Instant::now() + GRACE;
        let mut unfinished = run.waiting.borrow().len();
        for mut worker in workers {
            let left = grace.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, &mut worker).await.is_err() {
                worker.abort();
                unfinished += 1;
            }
        }
        Ok::<usize, io::Error>(unfinished)
    });
    let unfinished = outcome.await?;
    run.live.ended(unfinished, run.end);
    Ok(run.tally.borrow().outcome(unfinished))
}

/// Puts down the intended starts of an open loop, as late in real time as they are due.
async fn tick(run: Rc<Run>) {
    let Ok(alarm) = Alarm::new() else {
        run.tally.borrow_mut().failed("no timer");
        return;
    };
    // The connections need a moment to be there.
    let first = Instant::now() + Duration::from_millis(20);
    for number in 0u32.. {
        let after = match &run.plan.pacing {
            Pacing::Closed { .. } => return,
            Pacing::Open { rate, .. } => Duration::from_secs_f64(f64::from(number) / rate),
            Pacing::Arrivals { at, .. } => match at.get(number as usize) {
                Some(after) => *after,
                None => return,
            },
        };
        let due = first + after;
        if due >= run.end || alarm.until(due).await.is_err() {
            return;
        }
        run.waiting.borrow_mut().push_back(due);
        // The worker that ended last, so that conversations go on instead of all beginning at once.
        run.wake.notify_last();
    }
}

/// The next intended start for one connection; `None` at the end of the window.
async fn next_start(run: &Run) -> Option<Instant> {
    if let Pacing::Closed { .. } = run.plan.pacing {
        let now = Instant::now();
        return (!run.over()).then_some(now);
    }
    loop {
        let woken = run.wake.notified();
        if run.over() {
            return None;
        }
        if let Some(due) = run.waiting.borrow_mut().pop_front() {
            return Some(due);
        }
        woken.await;
    }
}

/// The life of connection `number` of `connections`.
async fn work(run: Rc<Run>, number: usize, connections: usize) {
    let mut request = Vec::new();
    if let Pacing::Closed { .. } = run.plan.pacing {
        // All are used at once, so the handshakes come before the first request. An open loop opens what it needs.
        if let Ok(open) = Connection::open(run.plan.target).await {
            run.idle.borrow_mut().push(open);
        }
    }
    if !run.plan.ramp.is_zero() {
        let part = number as f64 / connections as f64;
        tokio::time::sleep(run.plan.ramp.mul_f64(part)).await;
    }
    while let Some(start) = next_start(&run).await {
        run.writer.borrow_mut().write(&mut request, number);
        let exchange = exchange(&run, &request);
        let result = match tokio::time::timeout(run.plan.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Failure::timeout()),
        };
        match result {
            Ok(answer) => {
                run.live
                    .answered(answer.status == 200 && answer.complete, start);
                let counted = start >= run.begin;
                run.tally.borrow_mut().answered(start, counted, &answer);
            }
            Err(failure) => {
                run.live.failed(&failure.kind);
                run.tally.borrow_mut().failed(&failure.kind);
                // A target that refuses must not turn the client into a spinning loop.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// One request and its answer, on the connection that was used last or a new one.
async fn exchange(run: &Run, request: &[u8]) -> Result<Answer, Failure> {
    let (stream, tally) = (run.plan.stream, &run.tally);
    let idle = run.idle.borrow_mut().pop();
    let used = match idle {
        None => None,
        Some(mut connection) => match connection.exchange(request, stream, tally).await {
            // The target closed it while it was idle; the clock of the request runs on.
            Err(failure) if failure.unheard => None,
            other => Some((connection, other)),
        },
    };
    let (connection, result) = match used {
        Some(used) => used,
        None => {
            let mut connection = Connection::open(run.plan.target).await?;
            let result = connection.exchange(request, stream, tally).await;
            (connection, result)
        }
    };
    if let Ok(answer) = &result
        && !answer.close
    {
        run.idle.borrow_mut().push(connection);
    }
    result
}

/// Sends one `GET` on a connection of its own and returns status and body.
pub async fn get(target: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n").into_bytes();
    connection::once(target, &request).await
}

/// Sends one completion request of one token on a connection of its own and returns status and body; what tells that a
/// target is ready.
pub async fn probe(target: SocketAddr, model: &str) -> io::Result<(u16, Vec<u8>)> {
    let body = format!("{{\"model\":\"{model}\",\"prompt\":\"hello\",\"max_tokens\":1}}");
    ask_once(target, &target.to_string(), "/v1/completions", &body).await
}

/// POSTs one JSON body on a connection of its own and returns status and body.
pub async fn ask_once(
    target: SocketAddr,
    host: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, Vec<u8>)> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection::once(target, request.as_bytes()).await
}
