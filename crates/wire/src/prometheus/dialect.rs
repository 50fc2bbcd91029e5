//! The words an engine uses for the gauges that are read: one table per engine.

/// The words an engine uses for its gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Dialect {
    /// vLLM; what an unknown engine is taken for.
    #[default]
    Vllm,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM served by `trtllm-serve`.
    TrtllmServe,
    /// TensorRT-LLM behind Triton.
    TritonTensorrtLlm,
    /// Triton.
    Triton,
}

impl Dialect {
    /// All dialects with the engine type (label `llm-d.ai/engine-type`) that names each.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Vllm, "vllm"),
        (Self::Sglang, "sglang"),
        (Self::TrtllmServe, "trtllm-serve"),
        (Self::TritonTensorrtLlm, "triton-tensorrt-llm"),
        (Self::Triton, "triton"),
    ];

    /// The dialect of an engine type; an unknown one speaks vLLM's.
    pub fn of_engine_type(name: &str) -> Self {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Self::Vllm, |(dialect, _)| *dialect)
    }

    pub(crate) const fn wanted(self) -> &'static [Wanted] {
        match self {
            Self::Vllm => {
                const {
                    &[
                        gauge(Field::Waiting, "vllm:num_requests_waiting"),
                        gauge(Field::Running, "vllm:num_requests_running"),
                        gauge(Field::KvUsage, "vllm:kv_cache_usage_perc"),
                        info("vllm:cache_config_info", "block_size", "num_gpu_blocks"),
                        START_TIME,
                    ]
                }
            }
            Self::Sglang => {
                const {
                    &[
                        gauge(Field::Waiting, "sglang:num_queue_reqs"),
                        gauge(Field::Running, "sglang:num_running_reqs"),
                        gauge(Field::KvUsage, "sglang:token_usage"),
                        info("sglang:cache_config_info", "page_size", "num_pages"),
                        START_TIME,
                    ]
                }
            }
            Self::TrtllmServe => {
                const {
                    &[
                        gauge(Field::Waiting, "trtllm_num_requests_waiting"),
                        gauge(Field::Running, "trtllm_num_requests_running"),
                        gauge(Field::KvUsage, "trtllm_kv_cache_utilization"),
                        gauge(Field::BlockSize, "trtllm_kv_cache_tokens_per_block"),
                        gauge(Field::NumBlocks, "trtllm_kv_cache_max_blocks"),
                        START_TIME,
                    ]
                }
            }
            Self::TritonTensorrtLlm => {
                const {
                    &[
                        labelled(Field::Waiting, TRITON_REQUESTS, ("request_type", "waiting")),
                        labelled(
                            Field::Running,
                            TRITON_REQUESTS,
                            ("request_type", "scheduled"),
                        ),
                        labelled(
                            Field::KvUsage,
                            TRITON_BLOCKS,
                            ("kv_cache_block_type", "fraction"),
                        ),
                        labelled(
                            Field::BlockSize,
                            TRITON_BLOCKS,
                            ("kv_cache_block_type", "tokens_per"),
                        ),
                        labelled(
                            Field::NumBlocks,
                            TRITON_BLOCKS,
                            ("kv_cache_block_type", "max"),
                        ),
                        START_TIME,
                    ]
                }
            }
            Self::Triton => {
                const {
                    &[
                        gauge(Field::Waiting, "nv_inference_pending_request_count"),
                        gauge(Field::Running, "nv_inference_exec_count"),
                        START_TIME,
                    ]
                }
            }
        }
    }
}

const TRITON_REQUESTS: &str = "nv_trt_llm_request_metrics";
const TRITON_BLOCKS: &str = "nv_trt_llm_kv_cache_block_metrics";
const START_TIME: Wanted = gauge(Field::StartTime, "process_start_time_seconds");

/// What is read from a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Waiting,
    Running,
    KvUsage,
    BlockSize,
    NumBlocks,
    StartTime,
}

impl Field {
    pub(crate) const COUNT: usize = 6;
}

/// A name to look for and what its series mean.
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) means: Means,
}

pub(crate) enum Means {
    /// The value is the field, in series with this label (if any is asked for).
    Value(Field, Option<(&'static str, &'static str)>),
    /// Labels carry block size and number of blocks.
    CacheInfo {
        block_size: &'static str,
        num_blocks: &'static str,
    },
}

const fn gauge(field: Field, name: &'static str) -> Wanted {
    Wanted {
        name,
        means: Means::Value(field, None),
    }
}

const fn labelled(field: Field, name: &'static str, label: (&'static str, &'static str)) -> Wanted {
    Wanted {
        name,
        means: Means::Value(field, Some(label)),
    }
}

const fn info(name: &'static str, block_size: &'static str, num_blocks: &'static str) -> Wanted {
    Wanted {
        name,
        means: Means::CacheInfo {
            block_size,
            num_blocks,
        },
    }
}
