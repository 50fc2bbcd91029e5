//! Who waits, in bands of priority and within them in flows: who goes next, and what has room.
//!
//! A flow is what one fairness id has waiting in one band. The ordering policy of the band gives each request a key;
//! the fairness policy says which flow's head goes next. Finding it, and taking anybody out, costs a few lookups in
//! ordered maps, however many wait.
//!
//! Whoever was let in and found the endpoints it may use full stands aside for a moment: it keeps its number, its
//! time of queueing and its bytes, and meanwhile holds nobody up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::admission::rules::{BandRules, FlowRules};
use crate::contract::admission::{Flows, Waiter};
use crate::time::Tick;

/// A request that asks to be let in.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its number in the order of arrival; no two have the same.
    pub number: u64,
    /// Who sent it, as far as fairness is concerned.
    pub flow: Arc<str>,
    /// Its priority.
    pub priority: i64,
    /// Its size.
    pub bytes: u64,
    /// What the ordering policies go by.
    pub waiter: Waiter,
    /// How often it was let in and found the endpoints it may use full.
    pub turned_back: u32,
}

/// One who waits, with what the caller keeps about it.
pub struct Entry<T> {
    /// The request.
    pub ask: Ask,
    /// What the caller gave along.
    pub payload: T,
    key: Tick,
}

struct Flow<T> {
    entries: BTreeMap<(Tick, u64), Entry<T>>,
    bytes: u64,
}

struct Band<T> {
    rules: BandRules,
    flows: BTreeMap<Arc<str>, Flow<T>>,
    /// The first of each flow.
    heads: BTreeSet<(Tick, u64, Arc<str>)>,
    served: Option<Arc<str>>,
    bytes: u64,
    requests: u64,
}

/// Everybody who waits.
pub struct Queue<T> {
    rules: Arc<FlowRules>,
    bands: BTreeMap<Reverse<i64>, Band<T>>,
    places: HashMap<u64, Place, foldhash::fast::RandomState>,
    /// Those who stand aside, by the moment at which they come back into their bands.
    aside: BTreeMap<(Tick, u64), (Ask, T)>,
    /// By the moment of queueing, for the bounds on waiting.
    since: BTreeSet<(Tick, u64)>,
    bytes: u64,
}

struct Place {
    priority: i64,
    flow: Arc<str>,
    key: Tick,
}

/// What waits in one flow.
pub struct Waiting<'q> {
    /// The flow's name.
    pub flow: &'q Arc<str>,
    /// The band's priority.
    pub priority: i64,
    /// Requests.
    pub requests: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How full one band is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled {
    /// Requests and how many there may be.
    pub requests: (u64, u64),
    /// Bytes and how many there may be.
    pub bytes: (u64, u64),
}

impl<T> Flows for Band<T> {
    fn earliest(&self) -> Option<&str> {
        self.heads.first().map(|(_, _, flow)| &**flow)
    }

    fn after(&self, flow: &str) -> Option<&str> {
        let behind = (Bound::Excluded(flow), Bound::Unbounded);
        let next = self.flows.range::<str, _>(behind).next();
        next.map(|(name, _)| &**name).or_else(|| self.first())
    }

    fn first(&self) -> Option<&str> {
        self.flows.first_key_value().map(|(name, _)| &**name)
    }
}

impl<T> Band<T> {
    fn new(rules: BandRules) -> Self {
        Self {
            rules,
            flows: BTreeMap::new(),
            heads: BTreeSet::new(),
            served: None,
            bytes: 0,
            requests: 0,
        }
    }

    fn push(&mut self, entry: Entry<T>) {
        let (name, at) = (Arc::clone(&entry.ask.flow), (entry.key, entry.ask.number));
        self.bytes += entry.ask.bytes;
        self.requests += 1;
        let flow = self.flows.entry(Arc::clone(&name)).or_insert_with(|| Flow {
            entries: BTreeMap::new(),
            bytes: 0,
        });
        flow.bytes += entry.ask.bytes;
        let before = flow.entries.first_key_value().map(|(&at, _)| at);
        flow.entries.insert(at, entry);
        if before.is_none_or(|before| at < before) {
            if let Some((key, number)) = before {
                self.heads.remove(&(key, number, Arc::clone(&name)));
            }
            self.heads.insert((at.0, at.1, name));
        }
    }

    fn take(&mut self, name: &Arc<str>, at: (Tick, u64)) -> Option<Entry<T>> {
        let flow = self.flows.get_mut(name)?;
        let entry = flow.entries.remove(&at)?;
        flow.bytes -= entry.ask.bytes;
        self.bytes -= entry.ask.bytes;
        self.requests -= 1;
        if self.heads.remove(&(at.0, at.1, Arc::clone(name)))
            && let Some((&(key, number), _)) = flow.entries.first_key_value()
        {
            self.heads.insert((key, number, Arc::clone(name)));
        }
        if flow.entries.is_empty() {
            self.flows.remove(name);
        }
        Some(entry)
    }

    fn next(&mut self) -> Option<Entry<T>> {
        let rules = self.rules.fairness.plugin.clone();
        let name = rules.next(&*self, self.served.as_deref())?;
        let (name, flow) = self.flows.get_key_value(name)?;
        let (name, at) = (Arc::clone(name), *flow.entries.first_key_value()?.0);
        let entry = self.take(&name, at);
        self.served = Some(name);
        entry
    }
}

impl<T> Queue<T> {
    /// An empty queue under these rules.
    pub fn new(rules: Arc<FlowRules>) -> Self {
        Self {
            rules,
            bands: BTreeMap::new(),
            places: HashMap::default(),
            aside: BTreeMap::new(),
            since: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<FlowRules> {
        &self.rules
    }

    /// Goes on under rules of the same print: everybody keeps their place, also those who stand aside.
    pub fn go_by(&mut self, rules: Arc<FlowRules>) {
        self.rules = rules;
    }

    /// How many wait.
    pub fn len(&self) -> u64 {
        self.since.len() as u64
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// How many of this priority or a higher one wait.
    pub fn ahead_of(&self, priority: i64) -> u64 {
        let bands = self.bands.range(..=Reverse(priority));
        bands.map(|(_, band)| band.requests).sum()
    }

    /// Whether one of this size and priority has room: in all queues together and in its band, in bytes and requests.
    pub fn has_room(&self, priority: i64, bytes: u64) -> bool {
        let band = self.bands.get(&Reverse(priority));
        let (held_bytes, held) = band.map_or((0, 0), |band| (band.bytes, band.requests));
        let rules = self.rules.band(priority);
        let fits = |held: u64, more: u64, most: u64| held.saturating_add(more) <= most;
        fits(self.bytes, bytes, self.rules.max_bytes.unwrap_or(u64::MAX))
            && fits(self.len(), 1, self.rules.max_requests.unwrap_or(u64::MAX))
            && fits(held_bytes, bytes, rules.max_bytes)
            && fits(held, 1, rules.max_requests)
    }

    /// Puts one into its place, whether or not there is room.
    pub fn push(&mut self, ask: Ask, payload: T) {
        self.bytes += ask.bytes;
        self.since.insert((ask.waiter.enqueued, ask.number));
        self.place(ask, payload);
    }

    /// Has one stand aside until `then`, whether or not there is room.
    pub fn push_aside(&mut self, ask: Ask, payload: T, then: Tick) {
        self.bytes += ask.bytes;
        self.since.insert((ask.waiter.enqueued, ask.number));
        self.aside.insert((then, ask.number), (ask, payload));
    }

    /// Puts those back into their bands who have stood aside until `now`, and before them as many as there are
    /// places that have become `free`.
    pub fn come_back(&mut self, now: Tick, free: u64) {
        let mut free = free;
        while let Some(first) = self.aside.first_entry()
            && (free > 0 || first.key().0 <= now)
        {
            free = free.saturating_sub(1);
            let (ask, payload) = first.remove();
            self.place(ask, payload);
        }
    }

    fn place(&mut self, ask: Ask, payload: T) {
        let priority = ask.priority;
        let rules = &self.rules;
        let fresh = || Band::new(rules.band(priority).clone());
        let band = self.bands.entry(Reverse(priority)).or_insert_with(fresh);
        let key = band.rules.ordering.plugin.key(&ask.waiter);
        let place = Place {
            priority,
            flow: Arc::clone(&ask.flow),
            key,
        };
        self.places.insert(ask.number, place);
        band.push(Entry { ask, payload, key });
    }

    /// Takes one out, wherever it stands.
    pub fn remove(&mut self, number: u64) -> Option<Entry<T>> {
        let Some(place) = self.places.get(&number) else {
            return self.remove_aside(number);
        };
        let band = self.bands.get_mut(&Reverse(place.priority))?;
        let entry = band.take(&place.flow, (place.key, number));
        self.forget(entry)
    }

    /// Few stand aside, and fewer leave meanwhile: they are looked for one by one.
    fn remove_aside(&mut self, number: u64) -> Option<Entry<T>> {
        let at = *self.aside.keys().find(|(_, aside)| *aside == number)?;
        let (ask, payload) = self.aside.remove(&at)?;
        let key = ask.waiter.enqueued;
        self.forget(Some(Entry { ask, payload, key }))
    }

    /// Takes out who goes next in the band of this priority.
    pub fn next_of(&mut self, priority: i64) -> Option<Entry<T>> {
        let entry = self.bands.get_mut(&Reverse(priority))?.next();
        self.forget(entry)
    }

    fn forget(&mut self, entry: Option<Entry<T>>) -> Option<Entry<T>> {
        let entry = entry?;
        self.bytes -= entry.ask.bytes;
        self.places.remove(&entry.ask.number);
        self.since
            .remove(&(entry.ask.waiter.enqueued, entry.ask.number));
        Some(entry)
    }

    /// The highest priority that waits.
    pub fn highest(&self) -> Option<i64> {
        let waits = self.bands.iter().find(|(_, band)| band.requests > 0);
        waits.map(|(priority, _)| priority.0)
    }

    /// Who has waited longest: since when, and its number.
    pub fn oldest(&self) -> Option<(Tick, u64)> {
        self.since.first().copied()
    }

    /// Takes everybody out, in order of their numbers.
    pub fn drain(&mut self) -> Vec<Entry<T>> {
        let bands = std::mem::take(&mut self.bands);
        let aside = std::mem::take(&mut self.aside);
        self.places.clear();
        self.since.clear();
        self.bytes = 0;
        let flows = bands
            .into_values()
            .flat_map(|band| band.flows.into_values());
        let aside = aside.into_values().map(|(ask, payload)| {
            let key = ask.waiter.enqueued;
            Entry { ask, payload, key }
        });
        let standing = flows.flat_map(|flow| flow.entries.into_values());
        let mut all: Vec<Entry<T>> = standing.chain(aside).collect();
        all.sort_by_key(|entry| entry.ask.number);
        all
    }

    /// Which flow each band served last.
    pub fn served(&self) -> Vec<(i64, Arc<str>)> {
        let bands = self.bands.iter();
        bands
            .filter_map(|(priority, band)| Some((priority.0, Arc::clone(band.served.as_ref()?))))
            .collect()
    }

    /// Goes on after the flows that were served last under other rules.
    pub fn resume(&mut self, served: Vec<(i64, Arc<str>)>) {
        for (priority, flow) in served {
            let fresh = || Band::new(self.rules.band(priority).clone());
            let band = self.bands.entry(Reverse(priority)).or_insert_with(fresh);
            band.served = Some(flow);
        }
    }

    /// Every flow that has somebody waiting.
    pub fn flows(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.bands.iter().flat_map(|(priority, band)| {
            band.flows.iter().map(|(name, flow)| Waiting {
                flow: name,
                priority: priority.0,
                requests: flow.entries.len() as u64,
                bytes: flow.bytes,
            })
        })
    }

    /// How full each band is that anybody has waited in.
    pub fn filled(&self) -> impl Iterator<Item = (i64, Filled)> {
        self.bands.iter().map(|(priority, band)| {
            let filled = Filled {
                requests: (band.requests, band.rules.max_requests),
                bytes: (band.bytes, band.rules.max_bytes),
            };
            (priority.0, filled)
        })
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
