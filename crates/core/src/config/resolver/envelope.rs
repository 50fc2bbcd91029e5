//! The fields around the plugins: API version, kind, feature gates, saturation thresholds.
//!
//! A gate is a name, alone or with `=` and a truth value as Go reads them.

use crate::config::compat::{SECOND_API_VERSION, second_keys};
use crate::config::duration::parse_duration;
use crate::config::fault::hint;
use crate::config::resolver::Resolver;
use crate::config::written::{API_VERSIONS, KIND, Written, WrittenSaturation};
use crate::contract::spec::Generation;

/// The gates of both generations.
const GATES: [&str; 3] = ["dataLayer", "flowControl", "haPopulateNonLeaderDatastore"];

impl Resolver<'_> {
    /// Checks everything that is no plugin and no reference to one.
    pub fn check_envelope(&mut self, written: &Written) {
        let first = self.basis.compat == Generation::G1;
        match written.api_version.as_deref() {
            Some(found) if !API_VERSIONS.contains(&found) => {
                let near = hint(found, API_VERSIONS);
                let message = format!(
                    "'{found}' is not known; use {}{near}",
                    API_VERSIONS.join(" or ")
                );
                self.error("apiVersion", message);
            }
            Some(SECOND_API_VERSION) if first => {
                self.warning(
                    "apiVersion",
                    "the first generation does not know this group",
                );
            }
            _ => {}
        }
        if let Some(found) = written.kind.as_deref()
            && found != KIND
        {
            self.error("kind", format!("'{found}' is not {KIND}; use {KIND}"));
        }
        for (at, gate) in written.feature_gates.iter().enumerate() {
            self.check_gate(gate, &format!("featureGates[{at}]"));
        }
        if first {
            for key in second_keys(written) {
                let message = "the first generation refuses a file that has this; it counts here as in the second";
                self.warning(key, message);
            }
        }
        if let Some(saturation) = &written.saturation_detector {
            self.check_saturation(saturation);
        }
    }

    fn check_gate(&mut self, gate: &str, path: &str) {
        let (name, value) = match gate.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (gate, None),
        };
        match value.map(str::to_ascii_lowercase).as_deref() {
            None | Some("1" | "t" | "true" | "0" | "f" | "false") => {}
            Some(other) => {
                let message = format!("'{other}' is no value of a feature gate; use true or false");
                self.error(path, message);
                return;
            }
        }
        match name {
            "dataLayer" => self.warning(
                path,
                "'dataLayer' is always on here, and the second generation refuses it; remove it",
            ),
            "flowControl" | "haPopulateNonLeaderDatastore" => {}
            _ => {
                let near = hint(name, GATES);
                let message = format!("feature gate '{name}' is unknown or unregistered{near}");
                self.error(path, message);
            }
        }
    }

    fn check_saturation(&mut self, written: &WrittenSaturation) {
        let path = "saturationDetector";
        if written.plugin_ref.is_some() {
            let message = "this form is deprecated; write flowControl.saturationDetector";
            self.warning(path, message);
        }
        if written
            .queue_depth_threshold
            .is_some_and(|depth| depth <= 0)
        {
            let message = "needs a number of requests above 0";
            self.error(format!("{path}.queueDepthThreshold"), message);
        }
        if written
            .kv_cache_util_threshold
            .is_some_and(|share| share <= 0.0 || share > 1.0)
        {
            let message = "needs a share above 0 and up to 1";
            self.error(format!("{path}.kvCacheUtilThreshold"), message);
        }
        if let Some(Err(why)) = written
            .metrics_staleness_threshold
            .as_deref()
            .map(parse_duration)
        {
            self.error(format!("{path}.metricsStalenessThreshold"), why);
        }
    }
}

/// Whether requests are queued: the gate's last mention decides.
pub fn queues(written: &Written) -> bool {
    let mut mentions = written.feature_gates.iter().rev().filter_map(|gate| {
        let (name, value) = gate.split_once('=').unwrap_or((gate, "true"));
        let on = ["1", "t", "true"].contains(&value.trim().to_ascii_lowercase().as_str());
        (name.trim() == "flowControl").then_some(on)
    });
    mentions.next().unwrap_or(false)
}
