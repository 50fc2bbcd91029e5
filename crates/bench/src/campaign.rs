//! One run of a level: load, watched processes, and what may end it early.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::load::{Edge, Live, run_watched};
use crate::processes::{Watched, unreadable};
use crate::resources::{Watch, glance};
use crate::results::{Run, Usage, rounded};
use crate::scenario::Level;

/// Points of a process's use over time, and the shortest time between two.
const POINTS: u32 = 60;
const SHORTEST: Duration = Duration::from_millis(200);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(2);

/// Why a run ended before its time: somebody pressed Ctrl-C.
pub const INTERRUPTED: &str = "interrupted";
/// The same: somebody sent SIGTERM.
pub const TERMINATED: &str = "terminated";

/// A process while a run goes on.
struct Seen {
    name: String,
    pid: u32,
    watch: Option<Watch>,
    usage: Usage,
    last: Option<(Instant, u64)>,
}

impl Seen {
    fn new(watched: &Watched) -> Self {
        Self {
            name: watched.name.clone(),
            pid: watched.pid,
            watch: None,
            last: None,
            usage: Usage {
                name: watched.name.clone(),
                cpu_seconds: 0.0,
                cpu_cores: 0.0,
                rss_mb: 0.0,
                peak_rss_mb: 0.0,
                lost: None,
                series: Vec::new(),
            },
        }
    }

    fn at_edge(&mut self, edge: Edge) {
        let found = match edge {
            Edge::Begin => Watch::begin(self.pid).map(|watch| self.watch = Some(watch)),
            Edge::End => match &self.watch {
                None => Ok(()),
                Some(watch) => watch.end().map(|spent| {
                    self.usage.cpu_seconds = rounded(spent.cpu_nanos as f64 / 1e9);
                    self.usage.cpu_cores = rounded(spent.cores);
                    self.usage.rss_mb = rounded(spent.resident_mib);
                    self.usage.peak_rss_mb = rounded(spent.peak_mib);
                }),
            },
        };
        if let Err(error) = found {
            self.lose(&error);
        }
    }

    fn lose(&mut self, error: &io::Error) {
        let name = &self.name;
        let why = || format!("{name}: {}", unreadable(self.pid, error));
        self.usage.lost.get_or_insert_with(why);
    }

    /// A point of the picture over time, `since` the window began.
    fn point(&mut self, since: Duration) {
        let now = Instant::now();
        match glance(self.pid) {
            Ok((nanos, resident)) => {
                if let Some((then, before)) = self.last {
                    let seconds = now
                        .duration_since(then)
                        .as_secs_f64()
                        .max(f64::MIN_POSITIVE);
                    let cores = nanos.saturating_sub(before) as f64 / 1e9 / seconds;
                    self.usage.series.push((
                        rounded(since.as_secs_f64()),
                        rounded(cores),
                        rounded(resident),
                    ));
                    self.usage.peak_rss_mb = self.usage.peak_rss_mb.max(rounded(resident));
                    self.usage.rss_mb = rounded(resident);
                }
                self.last = Some((now, nanos));
            }
            Err(error) => self.lose(&error),
        }
    }
}

/// Runs a level once. `tell` hears of the progress; when `interrupt` ends with a reason, so does the run, and what was found
/// so far is kept and labelled with it.
///
/// # Errors
/// The run itself could not be held.
pub async fn measure(
    level: &Level,
    repetition: usize,
    processes: &[Watched],
    tell: &dyn Fn(&str),
    interrupt: impl Future<Output = &'static str>,
) -> io::Result<Run> {
    let live = Rc::new(Live::default());
    let seen = std::cell::RefCell::new(processes.iter().map(Seen::new).collect::<Vec<_>>());
    let window = level.plan.window;
    let total = level.plan.warmup + window;
    let step = (window / POINTS).max(SHORTEST);
    let begun = Instant::now();
    let at_edge = |edge| {
        seen.borrow_mut()
            .iter_mut()
            .for_each(|one| one.at_edge(edge))
    };
    let load = run_watched(&level.plan, at_edge, live.clone());
    let watching = async {
        tokio::time::sleep(level.plan.warmup).await;
        let window = Instant::now();
        loop {
            seen.borrow_mut()
                .iter_mut()
                .for_each(|one| one.point(window.elapsed()));
            tokio::time::sleep(step).await;
        }
    };
    let telling = async {
        loop {
            tokio::time::sleep(TELL).await;
            tell(&format!(
                "{:.0} s of {:.0} s, {} answers, {} failures",
                begun.elapsed().as_secs_f64().min(total.as_secs_f64()),
                total.as_secs_f64(),
                live.answers(),
                live.failures()
            ));
        }
    };
    let stopping = async {
        live.stop(interrupt.await);
        std::future::pending::<Infallible>().await
    };
    let outcome = tokio::select! {
        outcome = load => outcome?,
        never = watching => never,
        never = telling => never,
        never = stopping => match never {},
    };
    let resources = seen.into_inner().into_iter().map(|one| one.usage).collect();
    let mut run = Run::new(level, repetition, &outcome, resources);
    run.partial = live.why_stopped();
    Ok(run)
}
