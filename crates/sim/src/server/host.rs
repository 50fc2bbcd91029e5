//! One engine in real time: the clock, the requests in it, the one task that turns the crank.
//!
//! The engine's virtual time is the time since the server started. Whoever has something to say to the
//! engine (a handler, a guard that is dropped) takes the lock, brings the engine up to now, says it, and
//! wakes the crank; nothing is awaited under the lock. [`Host::run`] sleeps until the engine's next
//! event, however many requests there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use pointsman_core::time::Tick;
use pointsman_http::{Fault, FaultSwitch};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::front::Engine;
use crate::engine::request::{
    EngineEvent, EngineRequest, EventKind, Gauges, Refusal, RequestHandle,
};
use crate::server::adapters::{AdapterLoad, Adapters};
use crate::server::chance::Chance;
use crate::server::fake::FakeScene;
use crate::server::metrics::{Metrics, REASONS, Scene};
use crate::server::progress::Progress;
use crate::server::timeline::TimedFault;
use crate::server::transfers::TransferRegistry;
use crate::settings::Settings;

/// While requests run, a fault that somebody switched on is noticed this soon.
const LOOK_AT_FAULTS: Duration = Duration::from_millis(50);

/// An engine with everything around it.
#[derive(Debug)]
pub struct Host {
    /// What the server runs on.
    pub settings: Settings,
    /// The switch that the listener obeys as well.
    pub faults: FaultSwitch,
    /// Prompts that were computed for another server.
    pub transfers: TransferRegistry,
    /// Requests whose KV was fetched after its time; only ever read as a number.
    pub stale: AtomicU64,
    /// Ids and draws.
    pub chance: Chance,
    /// The adapters that are loaded.
    pub adapters: Adapters,
    /// What sleeps: the weights (1), the KV cache (2).
    asleep: AtomicU8,
    epoch: Instant,
    started: f64,
    core: Mutex<Core>,
    changed: Notify,
}

#[derive(Debug)]
struct Core {
    engine: Engine,
    live: HashMap<u64, Live>,
    next_key: u64,
    peers: HashMap<String, u32>,
    metrics: Metrics,
    events: Vec<EngineEvent>,
    knobs: Knobs,
    plan: Vec<PlannedFault>,
    fault_count: u64,
    adapter_load: AdapterLoad,
}

/// What `/admin/config` can change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    /// Factor on all step times.
    pub slow_factor: f64,
    /// How much faster than modelled everything runs.
    pub speed: f64,
    /// Most requests in a batch.
    pub max_num_seqs: u32,
}

/// A fault to be switched at a time.
#[derive(Clone, Copy, Debug)]
struct PlannedFault {
    at: Instant,
    fault: Fault,
}

/// Weights and KV cache.
const ALL_ASLEEP: u8 = 3;

#[derive(Debug)]
struct Live {
    progress: Arc<Progress>,
    arrived: Tick,
    last_token: Tick,
    max_tokens: Option<u32>,
    watched: bool,
    reason: usize,
    /// Set on a prefill for another server: the id it will be asked for by.
    record: Option<String>,
    adapter: Option<String>,
    begun: bool,
}

/// A request about to enter the engine.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Its block hashes.
    pub blocks: &'a [u64],
    /// Tokens to generate.
    pub output_tokens: u32,
    /// `max_tokens` as asked.
    pub max_tokens: Option<u32>,
    /// Whether the answer is streamed.
    pub watched: bool,
    /// Index into [`REASONS`].
    pub reason: usize,
    /// The peer its KV comes from.
    pub peer: Option<&'a str>,
    /// The id under which another server will ask for its KV.
    pub record: Option<&'a str>,
    /// The adapter that it asks for.
    pub adapter: Option<&'a str>,
}

/// A request's place in the engine. Dropping it before the end aborts the request.
#[derive(Debug)]
pub struct Seat {
    host: Arc<Host>,
    key: u64,
    handle: RequestHandle,
    /// How far the request is.
    pub progress: Arc<Progress>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut core = self.host.core.lock();
        if core.live.remove(&self.key).is_some() {
            let now = self.host.now();
            let Core { engine, events, .. } = &mut *core;
            engine.abort(now, self.handle, events);
            self.host.deliver(&mut core);
            self.host.look_at_adapters(&mut core);
            self.host.changed.notify_one();
        }
    }
}

impl Host {
    /// An idle engine, from now on.
    pub fn new(settings: Settings, faults: FaultSwitch, transfers: TransferRegistry) -> Self {
        let knobs = Knobs {
            slow_factor: settings.slow_factor,
            speed: settings.engine.speed,
            max_num_seqs: settings.engine.max_running,
        };
        let core = Core {
            engine: Engine::new(settings.engine.clone(), settings.seed),
            live: HashMap::new(),
            next_key: 0,
            peers: HashMap::new(),
            metrics: Metrics::new(settings.max_model_len),
            events: Vec::new(),
            knobs,
            plan: timeline(&settings.faults),
            fault_count: 0,
            adapter_load: AdapterLoad::default(),
        };
        Self {
            chance: Chance::new(settings.seed, settings.deterministic),
            adapters: Adapters::new(settings.adapters.clone()),
            asleep: AtomicU8::new(0),
            settings,
            faults,
            transfers,
            stale: AtomicU64::new(0),
            epoch: Instant::now(),
            started: wall_clock(),
            core: Mutex::new(core),
            changed: Notify::new(),
        }
    }

    /// Turns the crank for ever; the server runs it beside its listener and drops it with it.
    pub async fn run(&self) {
        loop {
            let wake = {
                let mut core = self.core.lock();
                self.catch_up(&mut core);
                self.switch_planned_faults(&mut core);
                self.next_wake(&core)
            };
            match wake {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Puts a request into the engine.
    pub fn enter(self: &Arc<Self>, entry: &Entry<'_>) -> Result<Seat, Refusal> {
        let mut core = self.core.lock();
        self.catch_up(&mut core);
        let now = self.now();
        let remote = entry.peer.map(|peer| peer_number(&mut core.peers, peer));
        let key = core.next_key;
        core.next_key += 1;
        let request = EngineRequest {
            key,
            prompt_tokens: entry.prompt_tokens,
            blocks: entry.blocks,
            output_tokens: entry.output_tokens,
            observed: entry.watched,
            remote,
        };
        let progress = Arc::new(Progress::default());
        let live = Live {
            progress: Arc::clone(&progress),
            arrived: now,
            last_token: now,
            max_tokens: entry.max_tokens,
            watched: entry.watched,
            reason: entry.reason,
            record: entry.record.map(str::to_owned),
            adapter: entry.adapter.map(str::to_owned),
            begun: false,
        };
        let Core { engine, events, .. } = &mut *core;
        let handle = engine.submit(now, &request, events)?;
        core.live.insert(key, live);
        self.deliver(&mut core);
        self.look_at_adapters(&mut core);
        drop(core);
        self.changed.notify_one();
        Ok(Seat {
            host: Arc::clone(self),
            key,
            handle,
            progress,
        })
    }

    /// Whether the start-up time is over.
    pub fn is_ready(&self) -> bool {
        self.epoch.elapsed() >= self.settings.startup
    }

    /// `/sleep`: the engine forgets its prefixes and takes no requests; ignored unless sleeping is allowed.
    pub fn sleep(&self) {
        if self.settings.sleep_mode {
            self.asleep.store(ALL_ASLEEP, Ordering::Relaxed);
            self.reset_prefix_cache();
        }
    }

    /// `/wake_up`: all of it, or what these tags name (`weights`, `kv_cache`).
    pub fn wake_up(&self, tags: &[&str]) {
        let awake = tags.iter().fold(0, |awake, tag| match *tag {
            "weights" => awake | 1,
            "kv_cache" => awake | 2,
            _ => awake,
        });
        let awake = if tags.is_empty() { ALL_ASLEEP } else { awake };
        self.asleep.fetch_and(!awake, Ordering::Relaxed);
    }

    /// Whether any of it sleeps.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) != 0
    }

    /// Load now.
    pub fn gauges(&self) -> Gauges {
        let mut core = self.core.lock();
        self.catch_up(&mut core);
        core.engine.gauges(self.now())
    }

    /// The metrics page.
    pub fn expose(&self) -> String {
        let settings = &self.settings;
        if let Some(fake) = &settings.fake_metrics {
            return fake.expose(&FakeScene {
                model: &settings.models[0],
                max_model_len: settings.max_model_len,
                blocks: (settings.engine.block_size, settings.engine.kv_blocks),
                max_loras: settings.max_loras,
                reason_label: settings.reason_label,
                started: self.started,
                elapsed: self.epoch.elapsed(),
            });
        }
        let mut core = self.core.lock();
        self.catch_up(&mut core);
        self.look_at_adapters(&mut core);
        let scene = Scene {
            model: &self.settings.models[0],
            block_size: self.settings.engine.block_size,
            prefix_caching: self.settings.engine.prefix_caching,
            gauges: core.engine.gauges(self.now()),
            counters: core.engine.counters(),
            started: self.started,
            faults: core.fault_count,
            stale: self.stale.load(Ordering::Relaxed),
            asleep: self.is_asleep(),
            reason_label: self.settings.reason_label,
            max_loras: self.settings.max_loras,
            adapters: &core.adapter_load,
        };
        core.metrics.expose(&scene)
    }

    /// Forgets prefixes; true when none is left.
    pub fn reset_prefix_cache(&self) -> bool {
        let mut core = self.core.lock();
        self.catch_up(&mut core);
        core.engine.reset_prefix_cache()
    }

    /// The knobs as they stand.
    pub fn knobs(&self) -> Knobs {
        self.core.lock().knobs
    }

    /// Turns the knobs; they hold from the next step on.
    pub fn turn(&self, knobs: Knobs) {
        let mut core = self.core.lock();
        self.catch_up(&mut core);
        let now = self.now();
        core.knobs = knobs;
        let Core { engine, events, .. } = &mut *core;
        engine.set_speed(now, knobs.speed, events);
        engine.set_max_running(now, knobs.max_num_seqs, events);
        self.deliver(&mut core);
        self.catch_up(&mut core);
        drop(core);
        self.changed.notify_one();
    }

    /// Switches a fault after `delay`, and off again after `length` more. Replaces what was planned.
    pub fn plan_fault(&self, delay: Duration, fault: Fault, length: Option<Duration>) {
        let mut core = self.core.lock();
        let at = Instant::now() + delay;
        core.plan.clear();
        core.plan.push(PlannedFault { at, fault });
        if let Some(length) = length {
            core.plan.push(PlannedFault {
                at: at + length,
                fault: Fault::None,
            });
        }
        drop(core);
        self.changed.notify_one();
    }

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Brings the engine up to now, at the pace that knobs and faults ask for.
    fn catch_up(&self, core: &mut Core) {
        let now = self.now();
        let fault = match self.faults.current() {
            Fault::Slow(factor) if factor.is_finite() && factor > 0.0 => factor,
            _ => 1.0,
        };
        let slow = core.knobs.slow_factor * fault;
        let Core { engine, events, .. } = core;
        engine.set_slow(now, slow, events);
        engine.advance(now, events);
        self.deliver(core);
    }

    /// Tells everybody what the engine did.
    fn deliver(&self, core: &mut Core) {
        let Core {
            events,
            live,
            metrics,
            ..
        } = core;
        for event in events.drain(..) {
            let Some(request) = live.get_mut(&event.key) else {
                continue;
            };
            match event.kind {
                EventKind::FirstToken => {
                    metrics.saw_first_token(event.at - request.arrived);
                    request.begun = true;
                    request.last_token = event.at;
                    request.progress.tell_tokens(1);
                }
                EventKind::Token(n) => {
                    metrics.saw_token(event.at - request.last_token);
                    request.last_token = event.at;
                    request.progress.tell_tokens(n);
                }
                EventKind::Finished(summary) => {
                    metrics.saw_end(
                        &summary,
                        request.max_tokens,
                        request.watched,
                        request.reason,
                    );
                    if let Some(id) = &request.record {
                        self.transfers.record(id, summary.prompt_tokens);
                    }
                    request.progress.tell_end(summary);
                    live.remove(&event.key);
                }
            }
        }
    }

    /// Sees which adapters have requests. The engine does not tell when a request leaves its queue: while it has
    /// one, those without a token count as waiting.
    fn look_at_adapters(&self, core: &mut Core) {
        let has = |live: &Live| live.adapter.is_some();
        let never = core.adapter_load.changed == 0.0;
        if never && self.adapters.all().is_empty() && !core.live.values().any(has) {
            return;
        }
        let queue = core.engine.gauges(self.now()).waiting > 0;
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        for live in core.live.values() {
            if let Some(adapter) = &live.adapter {
                let list = if live.begun || !queue {
                    &mut running
                } else {
                    &mut waiting
                };
                list.push(adapter.clone());
            }
        }
        core.adapter_load.update(running, waiting, wall_clock());
    }

    fn switch_planned_faults(&self, core: &mut Core) {
        let now = Instant::now();
        while let Some(planned) = core
            .plan
            .first()
            .copied()
            .filter(|planned| planned.at <= now)
        {
            core.plan.remove(0);
            core.fault_count += u64::from(planned.fault != Fault::None);
            self.faults.set(planned.fault);
        }
    }

    fn next_wake(&self, core: &Core) -> Option<Instant> {
        let engine = core
            .engine
            .next_event()
            .map(|at| self.epoch + Duration::from_nanos(at.0));
        let engine = engine.map(|at| at.min(Instant::now() + LOOK_AT_FAULTS));
        let plan = core.plan.first().map(|planned| planned.at);
        [engine, plan].into_iter().flatten().min()
    }
}

/// Seconds since 1970.
fn wall_clock() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The switches of a timeline that begins now, in their order.
fn timeline(faults: &[TimedFault]) -> Vec<PlannedFault> {
    let now = Instant::now();
    let mut plan = Vec::new();
    for &(after, fault, length) in faults {
        let at = now + after;
        plan.push(PlannedFault { at, fault });
        if let Some(length) = length {
            plan.push(PlannedFault {
                at: at + length,
                fault: Fault::None,
            });
        }
    }
    // Where one ends as the next begins, the next one holds.
    plan.sort_by_key(|planned| (planned.at, planned.fault != Fault::None));
    plan
}

/// The index of a reason in [`REASONS`].
pub fn reason_index(reason: &str) -> usize {
    REASONS
        .iter()
        .position(|known| *known == reason)
        .unwrap_or(0)
}

fn peer_number(peers: &mut HashMap<String, u32>, name: &str) -> u32 {
    if let Some(&number) = peers.get(name) {
        return number;
    }
    let number = peers.len() as u32;
    // A pair has few peers; names made up by clients must not fill the memory.
    if peers.len() < 1024 {
        peers.insert(name.to_owned(), number);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::SimConfig;

    fn host(flags: &[&str]) -> Arc<Host> {
        let config = SimConfig::from_flags(flags.iter().copied()).unwrap();
        let settings = Settings::resolve(&config).unwrap();
        Arc::new(Host::new(
            settings,
            FaultSwitch::default(),
            TransferRegistry::default(),
        ))
    }

    fn entry(output_tokens: u32) -> Entry<'static> {
        Entry {
            prompt_tokens: 40,
            blocks: &[],
            output_tokens,
            max_tokens: Some(output_tokens),
            watched: true,
            reason: 1,
            peer: None,
            record: None,
            adapter: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_crank_turns_and_a_request_ends_in_its_time() {
        let host = host(&["--deterministic"]);
        let seat = host.enter(&entry(8)).unwrap();
        let begun = Instant::now();
        let summary = tokio::select! {
            summary = seat.progress.ended() => summary,
            () = host.run() => unreachable!("the crank turns for ever"),
        };
        assert_eq!(summary.output_tokens, 8);
        let (real, virtual_time) = (begun.elapsed(), summary.finished - summary.arrived);
        // Timers have a resolution of a millisecond.
        assert!(
            real.as_secs_f64() - virtual_time.as_secs_f64() < 0.002,
            "{real:?} {virtual_time:?}"
        );
        assert!((0.03..0.1).contains(&virtual_time.as_secs_f64()));
        assert!(host.expose().contains(
            "finished_reason=\"length\",model_name=\"Qwen/Qwen3-Coder-30B-A3B-Instruct\"} 1.0"
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_seat_aborts_its_request() {
        let host = host(&["--deterministic"]);
        let seat = host.enter(&entry(1000)).unwrap();
        assert_eq!(host.gauges().running, 1);
        drop(seat);
        tokio::select! {
            () = host.run() => {}
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        assert_eq!(host.gauges().running, 0);
        assert!(host.expose().contains(
            "pointsman_sim_aborted_total{model_name=\"Qwen/Qwen3-Coder-30B-A3B-Instruct\"} 1.0"
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_that_slows_is_noticed_by_what_runs() {
        let host = host(&["--deterministic"]);
        let seat = host.enter(&entry(100)).unwrap();
        host.faults.set(Fault::Slow(10.0));
        let summary = tokio::select! {
            summary = seat.progress.ended() => summary,
            () = host.run() => unreachable!("the crank turns for ever"),
        };
        let seconds = (summary.finished - summary.arrived).as_secs_f64();
        assert!((4.0..6.0).contains(&seconds), "{seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn planned_faults_come_and_go() {
        let host = host(&[]);
        host.plan_fault(
            Duration::from_secs(1),
            Fault::Hang,
            Some(Duration::from_secs(2)),
        );
        let at = |ms| {
            let host = &host;
            async move {
                tokio::select! {
                    () = host.run() => {}
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                }
                host.faults.current()
            }
        };
        assert_eq!(at(900).await, Fault::None);
        assert_eq!(at(200).await, Fault::Hang);
        assert_eq!(at(2000).await, Fault::None);
    }
}
