//! What to look for on a page: an engine's description, laid out for the one pass over the lines.

use std::sync::Arc;

use pointsman_core::contract::data_layer::{EngineSpec, MetricSpec};

use crate::prometheus::dialect::Dialect;

/// Names to look for and what their series mean.
#[derive(Clone, PartialEq, Debug)]
pub struct Lexicon {
    wanted: Vec<Wanted>,
}

impl Lexicon {
    /// The words of an engine, and with them what tells that its process has restarted.
    pub fn of(engine: &EngineSpec) -> Self {
        let values = [
            (Field::Waiting, &engine.waiting),
            (Field::Running, &engine.running),
            (Field::KvUsage, &engine.kv_usage),
            (Field::BlockSize, &engine.block_size),
            (Field::NumBlocks, &engine.num_blocks),
        ];
        let mut wanted: Vec<Wanted> = values
            .into_iter()
            .filter_map(|(field, spec)| Some(Wanted::new(spec.as_ref()?, Means::Value(field))))
            .collect();
        if let Some(spec) = &engine.cache_info {
            let means = Means::CacheInfo {
                block_size: engine.block_size_label.clone(),
                num_blocks: engine.num_blocks_label.clone(),
            };
            wanted.push(Wanted::new(spec, means));
        }
        if let Some(spec) = &engine.lora {
            wanted.push(Wanted::new(spec, Means::Lora));
        }
        for (name, spec) in &engine.attributes {
            wanted.push(Wanted::new(spec, Means::Attribute(name.as_str().into())));
        }
        let named = |name: &str| MetricSpec {
            name: name.to_owned(),
            labels: Vec::new(),
        };
        wanted.push(Wanted::new(
            &named("process_start_time_seconds"),
            Means::Value(Field::StartTime),
        ));
        // Whatever the engine is called: a page has at most one of them, and described engines are mostly kin of these.
        for counter in ["vllm:request_success_total", "sglang:num_requests_total"] {
            wanted.push(Wanted::new(&named(counter), Means::Served));
        }
        Self { wanted }
    }

    /// The words of a known engine.
    pub fn of_dialect(dialect: Dialect) -> Self {
        Self::of(&dialect.spec())
    }

    /// The wanted names that `line` begins with, and what follows the name.
    pub(crate) fn matches<'l, 'p>(
        &'l self,
        line: &'p [u8],
    ) -> impl Iterator<Item = (&'l Wanted, &'p [u8])> {
        // Most lines are told apart by the one byte that must end the name; few are compared.
        self.wanted.iter().filter_map(|wanted| {
            let (name, end) = (&*wanted.name, line.get(wanted.name.len())?);
            let found = matches!(end, b'{' | b' ' | b'\t') && line.starts_with(name);
            found.then(|| (wanted, &line[name.len()..]))
        })
    }
}

/// A value that is read from a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// A name to look for, the labels its series must carry, and what they mean.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wanted {
    name: Box<[u8]>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) means: Means,
}

impl Wanted {
    fn new(spec: &MetricSpec, means: Means) -> Self {
        Self {
            name: spec.name.as_bytes().into(),
            labels: spec.labels.clone(),
            means,
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Means {
    /// The value is the field.
    Value(Field),
    /// Labels carry block size and number of blocks.
    CacheInfo {
        block_size: String,
        num_blocks: String,
    },
    /// The sum of all series counts requests served since the process started.
    Served,
    /// Labels list LoRA adapters; the value is the time of the list.
    Lora,
    /// The value is what the configuration calls so.
    Attribute(Arc<str>),
}
