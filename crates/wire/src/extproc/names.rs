//! Names of headers and metadata that a gateway and its picker agree on.

/// The picked endpoint as `ip:port`, as a header and in the metadata of [`LB`].
pub const DESTINATION: &str = "x-gateway-destination-endpoint";

/// The endpoint that served, said by the gateway in the metadata of [`LB`].
pub const SERVED: &str = "x-gateway-destination-endpoint-served";

/// Tells on an answer which endpoint served, in conformance tests.
pub const TEST_SERVED: &str = "x-conformance-test-served-endpoint";

/// The scores of the candidates, in the metadata of [`LB`].
pub const SCORES: &str = "x-gateway-destination-endpoint-scores";

/// The metadata of the gateway's load balancer.
pub const LB: &str = "envoy.lb";

/// The metadata in which the gateway says which endpoints may be picked.
pub const SUBSET_HINT: &str = "envoy.lb.subset_hint";

/// The list of those endpoints.
pub const SUBSET: &str = "x-gateway-destination-endpoint-subset";

/// The request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// Says on an answer that it passed the picker.
pub const WENT_THROUGH: &str = "x-went-into-resp-headers";

/// Tells the decode endpoint who prefills.
pub const PREFILLER: &str = "x-prefiller-host-port";

/// Tells the decode endpoint's sidecar who encodes.
pub const ENCODERS: &str = "x-encoder-hosts-ports";

/// Tells an endpoint's first rank which rank is meant.
pub const DATA_PARALLEL: &str = "x-data-parallel-host-port";

/// The target model, which takes the place of the body's; and its older name.
pub const REWRITE: [&str; 2] = ["x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"];

/// Headers of a request that do not go on to the endpoint: orders to the picker, and what only a picker may say. A client that
/// sends the latter would steer what stands behind the picker.
pub const NOT_PASSED_ON: [&str; 21] = [
    SUBSET,
    SERVED,
    DATA_PARALLEL,
    ENCODERS,
    "x-gateway-inference-fairness-id",
    "x-gateway-inference-objective",
    "x-gateway-model-name-rewrite",
    "x-kv-cache-source-host-port",
    "x-llm-d-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-llm-d-model-name-rewrite",
    "x-llm-d-request-dropped-reason",
    "x-llm-d-slo-tpot-ms",
    "x-llm-d-slo-ttft-ms",
    "x-llm-d-video-duration-seconds",
    "x-llm-d-video-fps",
    "x-llm-d-video-resolution",
    PREFILLER,
    SCORES,
    "x-slo-tpot-ms",
    "x-slo-ttft-ms",
];

/// Those among them that are the client's to set: what it claims for itself.
pub const CLAIMS: [&str; 11] = [
    "x-gateway-inference-fairness-id",
    "x-gateway-inference-objective",
    "x-llm-d-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-llm-d-slo-tpot-ms",
    "x-llm-d-slo-ttft-ms",
    "x-llm-d-video-duration-seconds",
    "x-llm-d-video-fps",
    "x-llm-d-video-resolution",
    "x-slo-tpot-ms",
    "x-slo-ttft-ms",
];
