//! What to look for on a page: an engine's description, laid out for the one pass over the lines.

use pointsman_core::contract::data_layer::{EngineSpec, MetricSpec};

use crate::prometheus::dialect::Dialect;

/// Names to look for and what their series mean.
#[derive(Clone, Debug)]
pub struct Lexicon {
    wanted: Vec<Wanted>,
    /// Bit n is set where some wanted name is n bytes long: most lines are passed over by this alone.
    lengths: u128,
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
        let lengths = wanted
            .iter()
            .fold(0, |bits, w| bits | 1 << w.name.len().min(LAST_BIT));
        Self { wanted, lengths }
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
        let name = line
            .iter()
            .position(|byte| matches!(byte, b'{' | b' ' | b'\t'))
            .unwrap_or(0);
        let possible = self.lengths >> name.min(LAST_BIT) & 1 == 1 && name > 0;
        let candidates: &[Wanted] = if possible { &self.wanted } else { &[] };
        let (name, rest) = line.split_at(name);
        candidates
            .iter()
            .filter(move |wanted| *wanted.name == *name)
            .map(move |wanted| (wanted, rest))
    }
}

/// Longer names share the last bit of [`Lexicon::lengths`].
const LAST_BIT: usize = 127;

/// A value that is read from a page.
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

/// A name to look for, the labels its series must carry, and what they mean.
#[derive(Clone, Debug)]
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

#[derive(Clone, Debug)]
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
}
