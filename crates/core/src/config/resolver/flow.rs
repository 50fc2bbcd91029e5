//! The section `flowControl`: read and checked in full, so that a file that the reference would refuse is refused
//! here too; not in effect yet, which is told once.

use crate::config::duration::parse_duration;
use crate::config::quantity::parse_quantity;
use crate::config::resolver::Resolver;
use crate::config::written::{Written, WrittenBand, WrittenFlowControl};

/// Policies that stand without being declared.
const IMPLIED: [&str; 3] = [
    "fcfs-ordering-policy",
    "global-strict-fairness-policy",
    "static-usage-limit-policy",
];

impl Resolver<'_> {
    /// Checks the section.
    pub fn check_flow_control(&mut self, written: &Written) {
        let Some(flow) = &written.flow_control else {
            return;
        };
        self.check_queue(flow);
        self.check_bands(flow);
        if let Some(name) = flow.usage_limit_policy_plugin_ref.as_deref() {
            self.check_policy(name, "flowControl.usageLimitPolicyPluginRef");
        }
        if let Some(detector) = &flow.saturation_detector {
            self.check_detector(&detector.plugin_ref, "flowControl.saturationDetector");
        }
        let message = "not in effect yet: requests are not queued and none is refused because the pool is full";
        self.warning("flowControl", message);
    }

    fn check_queue(&mut self, flow: &WrittenFlowControl) {
        let quantities = [
            ("maxBytes", &flow.max_bytes),
            ("maxRequests", &flow.max_requests),
        ];
        for (name, text) in quantities {
            self.check_text(
                text.as_deref(),
                &format!("flowControl.{name}"),
                parse_quantity,
            );
        }
        let durations = [
            ("defaultRequestTTL", &flow.default_request_ttl),
            ("noEndpointRequestTTL", &flow.no_endpoint_request_ttl),
        ];
        for (name, text) in durations {
            self.check_text(
                text.as_deref(),
                &format!("flowControl.{name}"),
                parse_duration,
            );
        }
    }

    fn check_bands(&mut self, flow: &WrittenFlowControl) {
        let templates = [
            ("defaultPriorityBand", &flow.default_priority_band),
            (
                "defaultNegativePriorityBand",
                &flow.default_negative_priority_band,
            ),
        ];
        for (name, band) in templates {
            if let Some(band) = band {
                self.check_band(band, &format!("flowControl.{name}"));
            }
        }
        for (at, band) in flow.priority_bands.iter().enumerate() {
            let path = format!("flowControl.priorityBands[{at}]");
            self.check_band(band, &path);
            let priority = band.priority.unwrap_or_default();
            let earlier = &flow.priority_bands[..at];
            if earlier
                .iter()
                .any(|other| other.priority.unwrap_or_default() == priority)
            {
                let message = format!("duplicate priority {priority}; give each band its own");
                self.error(format!("{path}.priority"), message);
            }
        }
    }

    fn check_band(&mut self, band: &WrittenBand, path: &str) {
        let quantities = [
            ("maxBytes", &band.max_bytes),
            ("maxRequests", &band.max_requests),
        ];
        for (name, text) in quantities {
            self.check_text(text.as_deref(), &format!("{path}.{name}"), parse_quantity);
        }
        let policies = [
            ("fairnessPolicyRef", &band.fairness_policy_ref),
            ("orderingPolicyRef", &band.ordering_policy_ref),
        ];
        for (name, policy) in policies {
            if let Some(policy) = policy {
                self.check_policy(policy, &format!("{path}.{name}"));
            }
        }
    }

    fn check_policy(&mut self, name: &str, path: &str) {
        if !IMPLIED.contains(&name) && !self.names.iter().any(|known| known == name) {
            self.error(path, format!("references undefined plugin '{name}'"));
        }
    }

    fn check_text<T>(
        &mut self,
        text: Option<&str>,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) {
        if let Some(Err(why)) = text.map(parse) {
            self.error(path, why);
        }
    }
}
