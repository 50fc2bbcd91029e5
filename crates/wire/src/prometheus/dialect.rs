//! The words that known engines use for the gauges that are read: one description per engine.

use pointsman_core::contract::data_layer::{EngineSpec, MetricSpec};

/// An engine whose words are known.
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

    /// The dialect of an engine type, if it is known.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(dialect, _)| *dialect)
    }

    /// The dialect of an engine type; an unknown one speaks vLLM's.
    pub fn of_engine_type(name: &str) -> Self {
        Self::named(name).unwrap_or_default()
    }

    /// The engine type.
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What is read of this engine, and under which names.
    pub fn spec(self) -> EngineSpec {
        let spec = match self {
            Self::Vllm => EngineSpec {
                waiting: plain("vllm:num_requests_waiting"),
                running: plain("vllm:num_requests_running"),
                kv_usage: plain("vllm:kv_cache_usage_perc"),
                cache_info: plain("vllm:cache_config_info"),
                block_size_label: "block_size".to_owned(),
                num_blocks_label: "num_gpu_blocks".to_owned(),
                lora: plain("vllm:lora_requests_info"),
                ..EngineSpec::default()
            },
            Self::Sglang => EngineSpec {
                waiting: plain("sglang:num_queue_reqs"),
                running: plain("sglang:num_running_reqs"),
                kv_usage: plain("sglang:token_usage"),
                cache_info: plain("sglang:cache_config_info"),
                block_size_label: "page_size".to_owned(),
                num_blocks_label: "num_pages".to_owned(),
                ..EngineSpec::default()
            },
            Self::TrtllmServe => EngineSpec {
                waiting: plain("trtllm_num_requests_waiting"),
                running: plain("trtllm_num_requests_running"),
                kv_usage: plain("trtllm_kv_cache_utilization"),
                block_size: plain("trtllm_kv_cache_tokens_per_block"),
                num_blocks: plain("trtllm_kv_cache_max_blocks"),
                ..EngineSpec::default()
            },
            Self::TritonTensorrtLlm => {
                let requests = |kind| labelled("nv_trt_llm_request_metrics", "request_type", kind);
                let blocks = |kind| {
                    labelled(
                        "nv_trt_llm_kv_cache_block_metrics",
                        "kv_cache_block_type",
                        kind,
                    )
                };
                EngineSpec {
                    waiting: requests("waiting"),
                    running: requests("scheduled"),
                    kv_usage: blocks("fraction"),
                    block_size: blocks("tokens_per"),
                    num_blocks: blocks("max"),
                    ..EngineSpec::default()
                }
            }
            Self::Triton => EngineSpec {
                waiting: plain("nv_inference_pending_request_count"),
                running: plain("nv_inference_exec_count"),
                ..EngineSpec::default()
            },
        };
        EngineSpec {
            name: self.word().to_owned(),
            ..spec
        }
    }
}

fn plain(name: &str) -> Option<MetricSpec> {
    Some(MetricSpec {
        name: name.to_owned(),
        labels: Vec::new(),
    })
}

fn labelled(name: &str, label: &str, value: &str) -> Option<MetricSpec> {
    Some(MetricSpec {
        name: name.to_owned(),
        labels: vec![(label.to_owned(), value.to_owned())],
    })
}
