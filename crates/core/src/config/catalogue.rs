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

/// Nothing is missing: this build has the type.
pub const HERE: &str = "it is here";
/// The remedy where nothing takes a type's place.
const REMOVE: &str = "remove it";
const FOLLOWED: &str = "remove it: changes of endpoints are always followed";
const APPROX: &str = "use approx-prefix-cache-producer with prefix-cache-scorer";
const LOAD: &str = "use active-request-scorer or queue-scorer";
const PARSER: &str = "use openai-parser, and passthrough-parser for everything else";
const EVICTION: &str = "remove it: flowControl.enableEviction goes by this rule";

/// The types, in the order of the reference's manual.
pub static CATALOGUE: &[Listed] = &[
    both("decode-filter", HERE),
    both("prefill-filter", HERE),
    second("encode-filter", HERE),
    second("label-selector-filter", HERE),
    both("by-label", HERE),
    both("by-label-selector", HERE),
    second("prefix-cache-affinity-filter", HERE),
    second("slo-headroom-tier-filter", LOAD),
    alpha("session-affinity-filter", HERE),
    alpha(
        "multicluster-session-affinity-filter",
        "use session-affinity-filter",
    ),
    alpha("endpoint-attribute-filter", HERE),
    alpha(
        "topology-affinity-filter",
        "use label-selector-filter on a topology label",
    ),
    alpha("utilization-filter", HERE),
    second("context-length-aware", HERE),
    second("concurrency-detector", HERE),
    second("utilization-detector", HERE),
    both("header-based-testing-filter", HERE),
    both("active-request-scorer", HERE),
    both("load-aware-scorer", HERE),
    both("queue-scorer", HERE),
    second("running-requests-size-scorer", HERE),
    both("kv-cache-utilization-scorer", HERE),
    both("prefix-cache-scorer", HERE),
    both("precise-prefix-cache-scorer", APPROX),
    both("no-hit-lru-scorer", HERE),
    both("lora-affinity-scorer", HERE),
    second("token-load-scorer", HERE),
    Listed {
        since: Since::Both,
        ..alpha("session-affinity-scorer", HERE)
    },
    second("latency-scorer", "use expected-ttft-scorer"),
    alpha("endpoint-attribute-scorer", HERE),
    alpha("header-label-affinity-scorer", HERE),
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
    both("max-score-picker", HERE),
    both("random-picker", HERE),
    both("weighted-random-picker", HERE),
    second("token-producer", HERE),
    second("tokenizer", HERE),
    second("approx-prefix-cache-producer", HERE),
    alpha(
        "multicluster-approx-prefix-cache-producer",
        "use approx-prefix-cache-producer",
    ),
    alpha(
        "burst-prefix-cache-producer",
        "use approx-prefix-cache-producer",
    ),
    second("precise-prefix-cache-producer", APPROX),
    second("inflight-load-producer", HERE),
    second("predicted-latency-producer", "use expected-ttft-scorer"),
    second("session-id-producer", HERE),
    second(
        "mm-embeddings-cache-producer",
        "use approx-prefix-cache-producer",
    ),
    alpha("p2p-source-producer", REMOVE),
    both("single-profile-handler", HERE),
    both("data-parallel-profile-handler", HERE),
    both("pd-profile-handler", HERE),
    second("disagg-profile-handler", HERE),
    alpha("header-profile-handler", "use a route with a header match"),
    second("disagg-headers-handler", HERE),
    both("prefill-header-handler", HERE),
    second("always-disagg-pd-decider", HERE),
    second("prefix-based-pd-decider", HERE),
    second("always-disagg-multimodal-decider", HERE),
    second("latency-slo-admitter", REMOVE),
    second("probabilistic-admitter", HERE),
    alpha("agent-identity", HERE),
    alpha("disaggregatedset-rollout-screener", REMOVE),
    second("request-attribute-reporter", HERE),
    second("destination-endpoint-served-verifier", HERE),
    second("global-strict-fairness-policy", HERE),
    second("round-robin-fairness-policy", HERE),
    second("program-aware-fairness", "use round-robin-fairness-policy"),
    second("fcfs-ordering-policy", HERE),
    second("edf-ordering-policy", HERE),
    second("slo-deadline-ordering-policy", HERE),
    second("static-usage-limit-policy", HERE),
    alpha("priority-holdback-policy", "use static-usage-limit-policy"),
    alpha(
        "soft-reflective-ceiling-policy",
        "use static-usage-limit-policy",
    ),
    alpha("sheddable-eviction-filter", EVICTION),
    alpha("priority-then-time-eviction-order-policy", EVICTION),
    second("metrics-data-source", HERE),
    second("core-metrics-extractor", HERE),
    second("endpoint-notification-source", FOLLOWED),
    second("k8s-notification-source", FOLLOWED),
    alpha(
        "topology-extractor",
        "remove it: label-selector-filter reads topology labels by itself",
    ),
    alpha(
        "multicluster-metrics-data-source",
        "use metrics-data-source",
    ),
    alpha(
        "multicluster-metrics-extractor",
        "use core-metrics-extractor",
    ),
    second("models-data-source", REMOVE),
    second("models-data-extractor", REMOVE),
    second("dcgm-data-source", REMOVE),
    second("dcgm-extractor", REMOVE),
    second("file-discovery", HERE),
    alpha("multicluster-file-discovery", "use file-discovery"),
    second("openai-parser", HERE),
    second("anthropic-parser", HERE),
    second("vllmhttp-parser", HERE),
    second("sglanghttp-parser", PARSER),
    second("vllmgrpc-parser", HERE),
    second("vertexai-parser", PARSER),
    second("passthrough-parser", HERE),
];

/// Types whose work is done here without them, so that a file that has one means the same without it.
pub static NEEDLESS: [&str; 2] = ["endpoint-notification-source", "k8s-notification-source"];

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
        "hashBlockSize",
        "the decider counts tokens",
    ),
];

/// Parameters that the second generation takes and reads no more.
pub static NO_LONGER_READ: &[Bound] = &[
    bound("pd-profile-handler", "prefixPluginName", PRODUCER),
    bound("pd-profile-handler", "prefixPluginType", PRODUCER),
    bound("no-hit-lru-scorer", "prefixPluginName", PRODUCER),
    bound("no-hit-lru-scorer", "prefixPluginType", PRODUCER),
];
const PRODUCER: &str = "write prefixMatchInfoProducerName";

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
    bound("session-affinity-scorer", "profileName", ""),
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
        "no-hit-lru-scorer",
        "g1 looks for matches over the whole pool, in the scorer that prefixPluginName names; g2 among the candidates left, with a producer",
    ),
    (
        "session-affinity-scorer",
        "g1 takes no parameters and knows sessions by the header x-session-token alone",
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
        for one in FIRST_ONLY.iter().chain(SECOND_ONLY).chain(NO_LONGER_READ) {
            assert!(listed(one.kind).is_some(), "{}", one.kind);
        }
        for kind in NEEDLESS {
            assert!(listed(kind).is_some(), "{kind}");
        }
        for (kind, _) in DIFFERING {
            assert!(listed(kind).is_some(), "{kind}");
        }
        for one in FIRST_ONLY {
            assert_eq!(bound_to(SECOND_ONLY, one.kind, one.name), None);
        }
    }
}
