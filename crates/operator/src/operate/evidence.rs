//! Whether the gateway follows the picker's answers: pure, from what the picker and the gateway count and from the
//! objects between them.
//!
//! That all requests are answered and all candidates used proves nothing: a gateway that drops every answer of the
//! picker, or asks none, balances by itself. So counters are compared, over the time since they were last looked at.

use serde_json::Value;

use crate::check::page::sum;
use crate::operate::status::Condition;

/// The condition.
pub(crate) const EFFECTIVE: &str = "ExtProcEffective";

/// Counters of all pickers, or of all gateways, at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// Decisions that ended in a pick.
    pub(crate) decisions: f64,
    /// Requests that the gateway sent elsewhere.
    pub(crate) served_elsewhere: f64,
    /// Requests for which the gateway began to ask a picker.
    pub(crate) streams: f64,
    /// Answers of a picker that the gateway did not expect, and dropped.
    pub(crate) spurious: f64,
    /// Requests that went on although the picker had failed.
    pub(crate) failed_open: f64,
    /// Requests for which the gateway reached no picker.
    pub(crate) failed: f64,
}

impl Counters {
    /// What a picker's page says, of either generation.
    pub(crate) fn of_picker(page: &str) -> Self {
        let decisions = [
            "pointsman_decisions_total",
            "inference_extension_scheduler_e2e_duration_seconds_count",
            "llm_d_epp_scheduler_e2e_duration_seconds_count",
        ];
        let decisions = decisions.into_iter().find_map(|name| sum(page, name, ""));
        Self {
            decisions: decisions.unwrap_or(0.0),
            served_elsewhere: sum(page, "pointsman_served_elsewhere_total", "").unwrap_or(0.0),
            ..Self::default()
        }
    }

    /// What a gateway's page says; none where it says nothing of pickers.
    pub(crate) fn of_gateway(page: &str) -> Option<Self> {
        let count = |name: &str| sum(page, &format!("envoy_http_ext_proc_{name}"), "");
        Some(Self {
            streams: count("streams_started")?,
            spurious: count("spurious_msgs_received").unwrap_or(0.0),
            failed_open: count("failure_mode_allowed").unwrap_or(0.0),
            failed: count("streams_failed").unwrap_or(0.0),
            ..Self::default()
        })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    /// What has been counted since; a process that has begun anew has counted all that it says.
    pub(crate) fn since(self, before: Self) -> Self {
        self.each(
            before,
            |now, then| if now < then { now } else { now - then },
        )
    }

    fn each(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            decisions: with(self.decisions, other.decisions),
            served_elsewhere: with(self.served_elsewhere, other.served_elsewhere),
            streams: with(self.streams, other.streams),
            spurious: with(self.spurious, other.spurious),
            failed_open: with(self.failed_open, other.failed_open),
            failed: with(self.failed, other.failed),
        }
    }
}

/// What the last traffic showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// There was none since the operator began to look.
    #[default]
    None,
    /// The gateway's counters and the picker's agree: it is asked, and its answers are taken.
    Follows,
    /// The picker decides; whether the gateway follows cannot be seen without its counters.
    Unseen,
    /// The gateway drops the picker's answers.
    Spurious,
    /// The gateway sends requests elsewhere than the picker says.
    Elsewhere,
    /// The gateway asks, and the picker fails to answer.
    Failing,
}

impl Traffic {
    /// What a condition of an earlier operator's says, which stands while nothing else is seen.
    pub(crate) fn told(reason: &str) -> Self {
        match reason {
            "GatewayFollows" => Self::Follows,
            "GatewayNotSeen" => Self::Unseen,
            "SpuriousResponses" => Self::Spurious,
            "ServedElsewhere" => Self::Elsewhere,
            "PickerFails" => Self::Failing,
            _ => Self::None,
        }
    }

    /// Judges what was counted since the last look; without traffic the last judgement stands. `gateways` says whether
    /// their counters are among what was counted.
    pub(crate) fn judge(self, since: &Counters, gateways: bool) -> Self {
        if since.spurious > 0.0 {
            return Self::Spurious;
        }
        if since.served_elsewhere > 0.0 {
            return Self::Elsewhere;
        }
        if since.failed_open + since.failed > 0.0 {
            return Self::Failing;
        }
        // One without the other says nothing: requests wait, or are refused, or were counted between the two pages.
        match (since.streams > 0.0, since.decisions > 0.0) {
            (true, true) => Self::Follows,
            (false, true) if !gateways => Self::Unseen,
            _ => self,
        }
    }
}

/// All that was found out about one installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// What the last traffic showed.
    pub(crate) traffic: Traffic,
    /// A filter of the gateway's namespace that keeps the request's headers from the picker.
    pub(crate) skips_headers: Option<String>,
    /// The picker's Service beside the pool is a name for another one.
    pub(crate) external_name: Option<String>,
    /// The picker found no metrics page on some candidate.
    pub(crate) metrics_not_found: bool,
}

impl Evidence {
    /// What is left of it when the operator begins anew: what the status says.
    pub(crate) fn told(custom: &Value) -> Self {
        let reason = |kind: &str| {
            let all = custom["status"]["conditions"].as_array();
            let found = all.into_iter().flatten().find(|one| one["type"] == kind);
            found.and_then(|one| one["reason"].as_str()).unwrap_or("")
        };
        Self {
            traffic: Traffic::told(reason(EFFECTIVE)),
            metrics_not_found: reason("EndpointsReady") == "MetricsNotFound",
            ..Self::default()
        }
    }

    /// The condition; none where no picker is to be asked.
    pub(crate) fn condition(&self, asks: bool) -> Option<Condition> {
        if !asks {
            return None;
        }
        let not = |reason: &str, text: String| Condition::new(EFFECTIVE, Some(false), reason, text);
        if let Some(service) = &self.external_name {
            return Some(not(
                "ExternalNamePicker",
                format!(
                    "the pool's picker {service} is an ExternalName Service, which Istio cannot follow: every request fails; delete it and set spec.envoyFilter.mode: Auto, and the operator makes a real one"
                ),
            ));
        }
        if let Some(filter) = &self.skips_headers {
            return Some(not(
                "LegacyFilter",
                format!(
                    "EnvoyFilter {filter} keeps the request's headers from the picker (request_header_mode: SKIP), so the gateway drops its answers and goes round robin; set spec.envoyFilter.mode: Auto"
                ),
            ));
        }
        Some(match self.traffic {
            Traffic::None => Condition::new(
                EFFECTIVE,
                None,
                "NoTraffic",
                "no request has come since the operator began to look",
            ),
            Traffic::Unseen => Condition::new(
                EFFECTIVE,
                None,
                "GatewayNotSeen",
                "the picker decides; whether the gateway follows shows with spec.gateway.statsPort, or by pointsman verify",
            ),
            Traffic::Follows => Condition::new(
                EFFECTIVE,
                Some(true),
                "GatewayFollows",
                "the gateway asks the picker and takes its answers",
            ),
            Traffic::Spurious => not(
                "SpuriousResponses",
                "the gateway drops the picker's answers (ext_proc.spurious_msgs_received rises) and balances by itself".to_owned(),
            ),
            Traffic::Elsewhere => not(
                "ServedElsewhere",
                "the gateway sends requests to other endpoints than the picker says (pointsman_served_elsewhere_total rises)".to_owned(),
            ),
            Traffic::Failing => not(
                "PickerFails",
                "the gateway asks, and the picker cannot be reached or fails (ext_proc.streams_failed or failure_mode_allowed rises)".to_owned(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_generations_of_pickers_are_understood() {
        for page in [
            "pointsman_decisions_total 7\npointsman_served_elsewhere_total 2\n",
            "inference_extension_scheduler_e2e_duration_seconds_count 7\n",
            "llm_d_epp_scheduler_e2e_duration_seconds_count{a=\"b\"} 7\n",
        ] {
            assert_eq!(Counters::of_picker(page).decisions, 7.0, "{page}");
        }
        assert_eq!(Counters::of_gateway("envoy_cluster_x 1\n"), None);
        let seen = Counters::of_gateway(
            "envoy_http_ext_proc_streams_started{p=\"a\"} 5\nenvoy_http_ext_proc_spurious_msgs_received{p=\"a\"} 4\n",
        );
        assert_eq!(seen.unwrap().spurious, 4.0);
    }

    fn counted(decisions: f64, streams: f64) -> Counters {
        Counters {
            decisions,
            streams,
            ..Counters::default()
        }
    }

    #[test]
    fn traffic_is_judged_by_what_was_counted_since() {
        let judged = |since: Counters, gateways| Traffic::None.judge(&since, gateways);
        assert_eq!(judged(counted(0.0, 0.0), true), Traffic::None);
        assert_eq!(judged(counted(5.0, 5.0), true), Traffic::Follows);
        assert_eq!(judged(counted(5.0, 0.0), false), Traffic::Unseen);
        assert_eq!(judged(counted(0.0, 5.0), true), Traffic::None);
        let failing = Counters {
            failed_open: 1.0,
            ..counted(0.0, 5.0)
        };
        assert_eq!(judged(failing, true), Traffic::Failing);
        let spurious = Counters {
            spurious: 5.0,
            ..counted(5.0, 5.0)
        };
        assert_eq!(judged(spurious, true), Traffic::Spurious);
        let elsewhere = Counters {
            served_elsewhere: 1.0,
            ..counted(5.0, 5.0)
        };
        assert_eq!(judged(elsewhere, true), Traffic::Elsewhere);
        // What was seen stands while nothing comes, and a good word takes a bad one's place.
        let quiet = Counters::default();
        assert_eq!(Traffic::Spurious.judge(&quiet, true), Traffic::Spurious);
        assert_eq!(
            Traffic::Spurious.judge(&counted(5.0, 5.0), true),
            Traffic::Follows
        );
        // A picker that has begun anew counts from nothing.
        assert_eq!(
            counted(3.0, 0.0).since(counted(90.0, 0.0)),
            counted(3.0, 0.0)
        );
    }

    #[test]
    fn the_cause_that_stands_in_an_object_goes_before_what_was_counted() {
        let mut evidence = Evidence {
            traffic: Traffic::Spurious,
            skips_headers: Some("s/epp-ext-proc".to_owned()),
            ..Evidence::default()
        };
        assert_eq!(evidence.condition(true).unwrap().reason, "LegacyFilter");
        evidence.external_name = Some("p/epp".to_owned());
        assert_eq!(
            evidence.condition(true).unwrap().reason,
            "ExternalNamePicker"
        );
        assert_eq!(evidence.condition(false), None);
        let none = Evidence::default();
        assert_eq!(none.condition(true).unwrap().status, "Unknown");
    }
}
