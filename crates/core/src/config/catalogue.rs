//! Every plugin type that the reference registers, whether or not this build has it, so that a configuration that
//! names one gets a true answer: which generation has it, how settled it is there, what to use until it is here.

/// A type of the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Type string.
    pub kind: &'static str,
    /// Which generations have it.
    pub since: Since,
    /// Whether the second generation asks for `--allow-experimental-plugins`.
    pub alpha: bool,
    /// What to use where this build lacks it.
    pub instead: &'static str,
}

/// Which generations have a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// Both.
    Both,
    /// The second only.
    Second,
}

const fn both(kind: &'static str, instead: &'static str) -> Listed {
    Listed {
        kind,
        since: Since::Both,
        alpha: false,
        instead,
    }
}

const fn second(kind: &'static str, instead: &'static str) -> Listed {
    Listed {
        since: Since::Second,
        ..both(kind, instead)
    }
}

const fn alpha(kind: &'static str, instead: &'static str) -> Listed {
    Listed {
        alpha: true,
        ..second(kind, instead)
    }
}

/// The remedy where nothing takes a type's place.
pub const REMOVE: &str = "remove it";
const APPROX: &str = "use approx-prefix-cache-producer with prefix-cache-scorer";
const LOAD: &str = "use active-request-scorer or queue-scorer";
const PD: &str = "use pd-profile-handler";
const PARSER: &str = "use openai-parser, and passthrough-parser for everything else";
const QUEUE: &str = "remove it: requests are not queued here";

/// The types, in the order of the reference's manual.
pub static CATALOGUE: &[Listed] = &[
    both("decode-filter", REMOVE),
    both("prefill-filter", REMOVE),
    second(
        "encode-filter",
        "use label-selector-filter on llm-d.ai/role",
    ),
    second("label-selector-filter", "use by-label-selector"),
    both("by-label", "use label-selector-filter"),
    both("by-label-selector", "use label-selector-filter"),
    second(
        "prefix-cache-affinity-filter",
        "use prefix-cache-scorer with a high weight",
    ),
    second("slo-headroom-tier-filter", LOAD),
    alpha(
        "session-affinity-filter",
        "use prefix-cache-scorer, which keeps a conversation where it began",
    ),
    alpha("multicluster-session-affinity-filter", REMOVE),
    alpha("endpoint-attribute-filter", "use label-selector-filter"),
    alpha(
        "topology-affinity-filter",
        "use label-selector-filter on a topology label",
    ),
    alpha("utilization-filter", LOAD),
    second("context-length-aware", "use label-selector-filter"),
    second("concurrency-detector", "use active-request-scorer"),
    second(
        "utilization-detector",
        "remove it and write the thresholds under saturationDetector",
    ),
    both("header-based-testing-filter", REMOVE),
    both("active-request-scorer", REMOVE),
    both("load-aware-scorer", REMOVE),
    both("queue-scorer", REMOVE),
    second("running-requests-size-scorer", REMOVE),
    both("kv-cache-utilization-scorer", REMOVE),
    both("prefix-cache-scorer", REMOVE),
    both("precise-prefix-cache-scorer", APPROX),
    both("no-hit-lru-scorer", "use active-request-scorer"),
    both("lora-affinity-scorer", "use prefix-cache-scorer"),
    second("token-load-scorer", LOAD),
    Listed {
        since: Since::Both,
        ..alpha(
            "session-affinity-scorer",
            "use prefix-cache-scorer, which keeps a conversation where it began",
        )
    },
    second("latency-scorer", "use expected-ttft-scorer"),
    alpha("endpoint-attribute-scorer", LOAD),
    alpha(
        "header-label-affinity-scorer",
        "use a route with a header match",
    ),
    alpha(
        "topology-affinity-scorer",
        "use label-selector-filter on a topology label",
    ),
    second("mm-embeddings-cache-scorer", "use prefix-cache-scorer"),
    alpha("multicluster-queue-scorer", "use queue-scorer"),
    alpha(
        "multicluster-kv-cache-utilization-scorer",
        "use kv-cache-utilization-scorer",
    ),
    alpha(
        "multicluster-prefix-cache-scorer",
        "use prefix-cache-scorer",
    ),
    both("max-score-picker", REMOVE),
    both("random-picker", REMOVE),
    both("weighted-random-picker", REMOVE),
    second("token-producer", "remove it: prompts are hashed as bytes"),
    second("tokenizer", "remove it: prompts are hashed as bytes"),
    second("approx-prefix-cache-producer", REMOVE),
    alpha(
        "multicluster-approx-prefix-cache-producer",
        "use approx-prefix-cache-producer",
    ),
    alpha(
        "burst-prefix-cache-producer",
        "use approx-prefix-cache-producer",
    ),
    second("precise-prefix-cache-producer", APPROX),
    second(
        "inflight-load-producer",
        "remove it: requests in flight are always counted",
    ),
    second("predicted-latency-producer", "use expected-ttft-scorer"),
    second("session-id-producer", REMOVE),
    second(
        "mm-embeddings-cache-producer",
        "use approx-prefix-cache-producer",
    ),
    alpha("p2p-source-producer", REMOVE),
    both("single-profile-handler", REMOVE),
    both(
        "data-parallel-profile-handler",
        "list each rank as an endpoint of its own",
    ),
    both("pd-profile-handler", REMOVE),
    second("disagg-profile-handler", PD),
    alpha("header-profile-handler", "use a route with a header match"),
    second("disagg-headers-handler", "use prefill-header-handler"),
    both("prefill-header-handler", REMOVE),
    second("always-disagg-pd-decider", PD),
    second("prefix-based-pd-decider", PD),
    second("always-disagg-multimodal-decider", PD),
    second("latency-slo-admitter", REMOVE),
    second("probabilistic-admitter", REMOVE),
    alpha("agent-identity", REMOVE),
    alpha("disaggregatedset-rollout-screener", REMOVE),
    second("request-attribute-reporter", REMOVE),
    second("destination-endpoint-served-verifier", REMOVE),
    second("global-strict-fairness-policy", QUEUE),
    second("round-robin-fairness-policy", QUEUE),
    second("program-aware-fairness", QUEUE),
    second("fcfs-ordering-policy", QUEUE),
    second("edf-ordering-policy", QUEUE),
    second("slo-deadline-ordering-policy", QUEUE),
    second("static-usage-limit-policy", QUEUE),
    alpha("priority-holdback-policy", QUEUE),
    alpha("soft-reflective-ceiling-policy", QUEUE),
    alpha("sheddable-eviction-filter", QUEUE),
    alpha("priority-then-time-eviction-order-policy", QUEUE),
    second("metrics-data-source", REMOVE),
    second("core-metrics-extractor", REMOVE),
    second(
        "endpoint-notification-source",
        "remove it: changes of endpoints are always followed",
    ),
    second("models-data-source", REMOVE),
    second("models-data-extractor", REMOVE),
    second("dcgm-data-source", REMOVE),
    second("dcgm-extractor", REMOVE),
    second("file-discovery", REMOVE),
    alpha("multicluster-file-discovery", "use file-discovery"),
    second("openai-parser", REMOVE),
    second("anthropic-parser", REMOVE),
    second("vllmhttp-parser", PARSER),
    second("sglanghttp-parser", PARSER),
    second("vllmgrpc-parser", PARSER),
    second("vertexai-parser", PARSER),
    second("passthrough-parser", REMOVE),
];

/// The reference's entry for this type.
pub fn listed(kind: &str) -> Option<&'static Listed> {
    CATALOGUE.iter().find(|listed| listed.kind == kind)
}

/// A parameter that only one generation has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Type of the plugin.
    pub kind: &'static str,
    /// Name of the parameter.
    pub name: &'static str,
    /// What the other generation calls it, or that it has nothing like it.
    pub instead: &'static str,
}

const fn bound(kind: &'static str, name: &'static str, instead: &'static str) -> Bound {
    Bound {
        kind,
        name,
        instead,
    }
}

/// Parameters that files of the first generation carry and the second refuses.
pub static FIRST_ONLY: &[Bound] = &[
    bound(
        "prefix-cache-scorer",
        "hashBlockSize",
        "no generation reads it; blockSize is what counts",
    ),
    bound(
        "prefix-cache-scorer",
        "blockSize",
        "write blockSizeTokens under approx-prefix-cache-producer",
    ),
    bound(
        "prefix-cache-scorer",
        "autoTune",
        "write it under approx-prefix-cache-producer",
    ),
    bound(
        "prefix-cache-scorer",
        "maxPrefixBlocksToMatch",
        "write it under approx-prefix-cache-producer",
    ),
    bound(
        "prefix-cache-scorer",
        "lruCapacityPerServer",
        "write it under approx-prefix-cache-producer",
    ),
    bound(
        "pd-profile-handler",
        "threshold",
        "write nonCachedTokens under prefix-based-pd-decider",
    ),
    bound(
        "pd-profile-handler",
        "prefixPluginName",
        "write prefixMatchInfoProducerName",
    ),
    bound(
        "pd-profile-handler",
        "hashBlockSize",
        "the decider counts tokens",
    ),
];

/// Parameters that only the second generation reads.
pub static SECOND_ONLY: &[Bound] = &[
    bound("active-request-scorer", "idleThreshold", ""),
    bound("active-request-scorer", "maxBusyScore", ""),
    bound("active-request-scorer", "inFlightLoadProducerName", ""),
    bound("prefix-cache-scorer", "prefixMatchInfoProducerName", ""),
    bound("prefix-cache-scorer", "matchLengthWeight", ""),
    bound("prefix-cache-scorer", "matchLengthScaleTokens", ""),
    bound("no-hit-lru-scorer", "prefixMatchInfoProducerName", ""),
    bound("pd-profile-handler", "deciderPluginName", ""),
    bound("pd-profile-handler", "prefixMatchInfoProducerName", ""),
    bound("prefix-based-pd-decider", "nonCachedTokens", ""),
    bound("prefix-based-pd-decider", "promptTokens", ""),
    bound("precise-prefix-cache-scorer", "speculativeIndexing", ""),
    bound("precise-prefix-cache-scorer", "speculativeTTL", ""),
    bound("session-affinity-scorer", "strategy", ""),
    bound("session-affinity-scorer", "encodedEndpointHeaderConfig", ""),
    bound("session-affinity-scorer", "sessionIdConfig", ""),
];

/// The entry for this parameter in one of the lists.
pub fn bound_to(list: &'static [Bound], kind: &str, name: &str) -> Option<&'static Bound> {
    list.iter().find(|one| one.kind == kind && one.name == name)
}

/// What a type does differently in the second generation, for those who move a file.
pub static DIFFERING: &[(&str, &str)] = &[
    (
        "active-request-scorer",
        "g1 measures against the busiest endpoint of the whole pool, g2 against the busiest candidate left by the filters",
    ),
    (
        "prefix-cache-scorer",
        "g1 learns by itself, in blocks of bytes; g2 reads a producer, which counts in blocks of tokens and a last partial one",
    ),
    (
        "decode-filter",
        "g2 also keeps the roles prefill-decode and encode-prefill-decode",
    ),
    (
        "prefill-filter",
        "g2 also keeps the roles encode-prefill, prefill-decode, both and encode-prefill-decode",
    ),
    (
        "pd-profile-handler",
        "g1 compares the part of the prompt that is not held with a threshold in bytes; g2 asks a decider",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_stands_once_and_every_parameter_belongs_to_one() {
        for (at, one) in CATALOGUE.iter().enumerate() {
            let first = CATALOGUE.iter().position(|other| other.kind == one.kind);
            assert_eq!(first, Some(at), "{} stands twice", one.kind);
            assert!(!one.instead.is_empty(), "{}", one.kind);
        }
        for one in FIRST_ONLY.iter().chain(SECOND_ONLY) {
            assert!(listed(one.kind).is_some(), "{}", one.kind);
        }
        for (kind, _) in DIFFERING {
            assert!(listed(kind).is_some(), "{kind}");
        }
        for one in FIRST_ONLY {
            assert_eq!(bound_to(SECOND_ONLY, one.kind, one.name), None);
        }
    }
}
