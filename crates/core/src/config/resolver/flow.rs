//! Admission: the section `flowControl`, the saturation settings of both generations, and objectives.
//!
//! The section is checked in full whether or not the gate `flowControl` is on, so that a file that the reference would
//! refuse is refused here too; like there it is in effect only with the gate, but for its saturation detector.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admission::reclaim::Eviction;
use crate::admission::rules::{Admission, BAND_BYTES, BAND_REQUESTS, BandRules, FlowRules, TTL};
use crate::admission::saturation::{GoodEndpoint, Utilization};
use crate::config::duration::parse_duration;
use crate::config::parts::Parts;
use crate::config::quantity::parse_quantity;
use crate::config::resolver::envelope::queues;
use crate::config::resolver::{Resolver, name_of};
use crate::config::written::{
    Written, WrittenBand, WrittenFlowControl, WrittenPlugin, WrittenSaturation,
};
use crate::contract::admission::SaturationDetector;
use crate::contract::spec::Generation;
use crate::schedule::plan::{Named, Profile};
use crate::time::Span;

const FCFS: &str = "fcfs-ordering-policy";
const STRICT: &str = "global-strict-fairness-policy";
const LIMIT: &str = "static-usage-limit-policy";
const DETECTOR: &str = "utilization-detector";

/// Finds a policy of one role among the plugins.
type Find<T> = fn(&Parts, &str) -> Option<Named<T>>;

/// A role's word for messages, the type that stands without being declared, and how to find one.
struct Wanted<T: ?Sized> {
    what: &'static str,
    default: &'static str,
    find: Find<T>,
}

impl Resolver<'_> {
    /// Who is let in; `None` where something is wrong with what is written.
    pub fn admission(
        &mut self,
        written: &Written,
        parts: &mut Parts,
        profiles: &[Option<Profile>],
    ) -> Option<Admission> {
        let on = queues(written);
        if written.flow_control.is_some() && !on {
            let message = "has no effect without featureGates: [flowControl], but for saturationDetector: requests do not wait";
            self.warning("flowControl", message);
        }
        let default = WrittenFlowControl::default();
        let section = written.flow_control.as_ref().unwrap_or(&default);
        let detector = self.detector(written, section, parts, on);
        let flow = self.flow_rules(section, parts, on);
        let detector = detector?;
        let flow = flow.map(|flow| FlowRules {
            print: print_of(section, &written.plugins),
            eviction: (section.enable_eviction == Some(true)).then(|| Eviction {
                grace: detector.plugin.lags(),
            }),
            ..flow
        });
        let counter = detector.plugin.counts_tokens_of().map(str::to_owned);
        let tokens = counter.as_deref().and_then(|name| parts.tokens_of(name));
        if let Some(name) = counter.filter(|_| tokens.is_none()) {
            let message = format!(
                "'{}' reads the tokens in flight of '{name}', which counts none; name an inflight-load-producer, or write concurrencyMode: requests",
                detector.name
            );
            self.error("flowControl.saturationDetector", message);
        }
        let bound = detector.plugin.most_in_flight().filter(|_| on);
        let most = profiles.iter().map(|profile| {
            let filters = profile.iter().flat_map(|profile| &profile.filters);
            let bounds = filters.filter_map(|filter| filter.plugin.most_in_flight());
            bounds.chain(bound).min()
        });
        Some(Admission {
            flow: flow.filter(|_| on).map(Arc::new),
            detector,
            tokens,
            objectives: self.own.objectives.clone(),
            most_in_flight: most.collect(),
        })
    }

    /// What says how full the pool is: the plugin named, the first generation's thresholds, or the defaults.
    fn detector(
        &mut self,
        written: &Written,
        section: &WrittenFlowControl,
        parts: &mut Parts,
        on: bool,
    ) -> Option<Named<dyn SaturationDetector>> {
        let old = written.saturation_detector.as_ref();
        let new = section.saturation_detector.as_ref();
        let named = match (new, old.and_then(|old| old.plugin_ref.as_deref())) {
            (Some(new), _) => Some((new.plugin_ref.as_str(), "flowControl.saturationDetector")),
            (None, Some(old)) => Some((old, "saturationDetector")),
            (None, None) => None,
        };
        let (name, path) = named.unwrap_or((DETECTOR, "flowControl.saturationDetector"));
        if named.is_some() || on && old.is_none() && self.basis.compat == Generation::G2 {
            if let Some(found) = parts.detector(name) {
                return Some(found);
            }
            if name != DETECTOR {
                if self.check_reference(name, path, "saturation detector ")
                    && !self.has_failed(name)
                {
                    let message = format!(
                        "'{name}' does not tell how full the pool is; use {DETECTOR} or concurrency-detector"
                    );
                    self.error(format!("{path}.pluginRef"), message);
                }
                return None;
            }
            if self.has_failed(name) {
                return None;
            }
            if on && self.imply(name, parts).is_some() {
                return parts.detector(name);
            }
        }
        let thresholds = old.map_or_else(Utilization::default, thresholds);
        let plugin: Arc<dyn SaturationDetector> = match self.basis.compat {
            Generation::G1 => Arc::new(GoodEndpoint(thresholds)),
            Generation::G2 => Arc::new(thresholds),
        };
        Some(Named {
            name: DETECTOR.into(),
            kind: DETECTOR,
            plugin,
        })
    }

    /// How requests wait; `None` where something is wrong, or the gate is off.
    fn flow_rules(
        &mut self,
        written: &WrittenFlowControl,
        parts: &mut Parts,
        on: bool,
    ) -> Option<FlowRules> {
        let bound = |found: Option<u64>| found.filter(|&bound| bound > 0);
        let max_bytes = bound(self.quantity(&written.max_bytes, "flowControl.maxBytes"));
        let max_requests = bound(self.quantity(&written.max_requests, "flowControl.maxRequests"));
        let ttl = self.wait(&written.default_request_ttl, "defaultRequestTTL");
        let ttl = ttl.unwrap_or(TTL);
        let empty = self.wait(&written.no_endpoint_request_ttl, "noEndpointRequestTTL");
        let empty = empty.unwrap_or(ttl);
        let limit = Wanted {
            what: "usage limit policy",
            default: LIMIT,
            find: Parts::usage_limit,
        };
        let path = "flowControl.usageLimitPolicyPluginRef";
        let name = written.usage_limit_policy_plugin_ref.as_deref();
        let limit = self.policy(name, &limit, path, parts, on);
        let usual = written.default_priority_band.clone().unwrap_or_default();
        let negative = written.default_negative_priority_band.as_ref();
        let negative = negative.unwrap_or(&usual).clone();
        let usual = self.band(&usual, "flowControl.defaultPriorityBand", parts, on);
        let path = "flowControl.defaultNegativePriorityBand";
        let negative = self.band(&negative, path, parts, on);
        let bands = self.bands(&written.priority_bands, parts, on);
        let some = |span: Span| (span > Span(0)).then_some(span);
        Some(FlowRules {
            max_bytes,
            max_requests,
            ttl: some(ttl),
            no_endpoint_ttl: some(empty),
            bands,
            others: usual?,
            negative: negative?,
            limit: limit?,
            print: 0,
            eviction: None,
        })
    }

    fn bands(
        &mut self,
        written: &[WrittenBand],
        parts: &mut Parts,
        on: bool,
    ) -> BTreeMap<i64, BandRules> {
        let (mut bands, mut seen) = (BTreeMap::new(), Vec::new());
        for (at, band) in written.iter().enumerate() {
            let path = format!("flowControl.priorityBands[{at}]");
            let rules = self.band(band, &path, parts, on);
            let priority = band.priority.unwrap_or_default();
            if seen.contains(&priority) {
                let message = format!("duplicate priority {priority}; give each band its own");
                self.error(format!("{path}.priority"), message);
            }
            seen.push(priority);
            bands.extend(rules.map(|rules| (priority, rules)));
        }
        bands
    }

    fn band(
        &mut self,
        written: &WrittenBand,
        path: &str,
        parts: &mut Parts,
        on: bool,
    ) -> Option<BandRules> {
        let max_bytes = self.quantity(&written.max_bytes, &format!("{path}.maxBytes"));
        let max_requests = self.quantity(&written.max_requests, &format!("{path}.maxRequests"));
        let fairness = Wanted {
            what: "fairness policy",
            default: STRICT,
            find: Parts::fairness,
        };
        let name = written.fairness_policy_ref.as_deref();
        let fairness = self.policy(
            name,
            &fairness,
            &format!("{path}.fairnessPolicyRef"),
            parts,
            on,
        );
        let ordering = Wanted {
            what: "ordering policy",
            default: FCFS,
            find: Parts::ordering,
        };
        let name = written.ordering_policy_ref.as_deref();
        let ordering = self.policy(
            name,
            &ordering,
            &format!("{path}.orderingPolicyRef"),
            parts,
            on,
        );
        // Zero asks for the default, never for no bound.
        let or = |found: Option<u64>, default| found.filter(|&n| n > 0).unwrap_or(default);
        Some(BandRules {
            max_bytes: or(max_bytes, BAND_BYTES),
            max_requests: or(max_requests, BAND_REQUESTS),
            fairness: fairness?,
            ordering: ordering?,
        })
    }

    /// The policy of this name: one that is declared, or the one that stands without being declared.
    fn policy<T: ?Sized>(
        &mut self,
        name: Option<&str>,
        wanted: &Wanted<T>,
        path: &str,
        parts: &mut Parts,
        on: bool,
    ) -> Option<Named<T>> {
        let name = name.unwrap_or(wanted.default);
        if let Some(found) = (wanted.find)(parts, name) {
            return Some(found);
        }
        if self.has_failed(name) {
            return None;
        }
        let declared = self.names.iter().any(|known| known == name);
        if name == wanted.default && !declared {
            if !on || self.imply(name, parts).is_some() {
                return (wanted.find)(parts, name);
            }
            self.error(path, format!("this build has no '{name}'"));
            return None;
        }
        let message = if declared || [FCFS, STRICT, LIMIT].contains(&name) {
            format!("'{name}' is no {}; use {}", wanted.what, wanted.default)
        } else {
            format!("{} references undefined plugin '{name}'", wanted.what)
        };
        self.error(path, message);
        None
    }

    fn quantity(&mut self, text: &Option<String>, path: &str) -> Option<u64> {
        self.read(text.as_deref(), path, parse_quantity)
    }

    fn wait(&mut self, text: &Option<String>, name: &str) -> Option<Span> {
        let path = format!("flowControl.{name}");
        self.read(text.as_deref(), &path, parse_duration)
    }

    fn read<T>(
        &mut self,
        text: Option<&str>,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text?) {
            Ok(value) => Some(value),
            Err(why) => {
                self.error(path, why);
                None
            }
        }
    }
}

/// A print of what the places of those who wait depend on: bounds, times, bands, and the policies that they name.
fn print_of(section: &WrittenFlowControl, plugins: &[WrittenPlugin]) -> u64 {
    let queue = WrittenFlowControl {
        usage_limit_policy_plugin_ref: None,
        saturation_detector: None,
        enable_eviction: None,
        ..section.clone()
    };
    let usual = [
        &section.default_priority_band,
        &section.default_negative_priority_band,
    ];
    let bands = section.priority_bands.iter();
    let bands: Vec<&WrittenBand> = bands.chain(usual.into_iter().flatten()).collect();
    let named = |name: &str| {
        let refs = |band: &&WrittenBand| {
            let is = |policy: &Option<String>| policy.as_deref() == Some(name);
            is(&band.fairness_policy_ref) || is(&band.ordering_policy_ref)
        };
        [FCFS, STRICT].contains(&name) || bands.iter().any(refs)
    };
    let policies: Vec<&WrittenPlugin> = plugins
        .iter()
        .filter(|plugin| named(name_of(plugin)))
        .collect();
    // What has just been read can be written; if not, no two prints are held for the same.
    let text = serde_json::to_vec(&(&queue, policies)).unwrap_or_default();
    xxhash_rust::xxh64::xxh64(&text, 0)
}

/// The thresholds of the first generation's section; what is wrong in it has been told.
fn thresholds(written: &WrittenSaturation) -> Utilization {
    let default = Utilization::default();
    let depth = written.queue_depth_threshold.filter(|&depth| depth > 0);
    let share = written.kv_cache_util_threshold.filter(|&share| share > 0.0);
    let age = written.metrics_staleness_threshold.as_deref();
    Utilization {
        queue_depth: depth.map_or(default.queue_depth, |depth| depth as f64),
        kv_share: share.unwrap_or(default.kv_share),
        max_age: age
            .and_then(|age| parse_duration(age).ok())
            .unwrap_or(default.max_age),
    }
}
