//! What a run of load is told: whom to ask, when, what, and for how long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of made-up text that stand for one token.
pub const BYTES_PER_TOKEN: usize = 4;

/// When requests start.
#[derive(Debug, Clone, PartialEq)]
pub enum Pacing {
    /// Each connection starts its next request when the last has ended.
    Closed {
        /// Requests in flight.
        connections: usize,
    },
    /// Requests start evenly at a rate, whatever the answers do.
    Open {
        /// Requests per second.
        rate: f64,
        /// Connections at most; a request waits for a free one, and its clock runs.
        connections: usize,
    },
    /// Requests start at given times, whatever the answers do.
    Arrivals {
        /// When, counted from the beginning of the run, in order.
        at: Arc<[Duration]>,
        /// Connections at most, as above.
        connections: usize,
    },
}

/// One run of load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who is asked.
    pub target: SocketAddr,
    /// The `host` that requests name.
    pub host: String,
    /// Whether requests are chats; else they are completions.
    pub chat: bool,
    /// When requests start.
    pub pacing: Pacing,
    /// What they ask.
    pub work: Work,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Tokens per answer.
    pub max_tokens: u32,
    /// The model they name.
    pub model: String,
    /// Time before the window.
    pub warmup: Duration,
    /// Time over which the connections of a closed loop begin, one after the other. Answers that all take the same time
    /// stay in step for ever when they began in step; as long as one answer, it spreads them evenly.
    pub ramp: Duration,
    /// Length of the window.
    pub window: Duration,
    /// Longest time for one exchange.
    pub timeout: Duration,
    /// Seed of the prompts.
    pub seed: u64,
}

impl Plan {
    /// A plan with half a second of warm-up, unique prompts of 200 bytes and JSON answers of 8 tokens.
    #[must_use]
    pub fn new(target: SocketAddr, pacing: Pacing, window: Duration) -> Self {
        Self {
            target,
            host: target.to_string(),
            chat: false,
            pacing,
            work: Work::Unique { bytes: 200 },
            stream: false,
            max_tokens: 8,
            model: "bench-model".to_owned(),
            warmup: Duration::from_millis(500),
            ramp: Duration::ZERO,
            window,
            timeout: Duration::from_secs(30),
            seed: 7,
        }
    }
}

/// Which prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Different from the first byte on.
    Unique {
        /// Length of the prompt in bytes.
        bytes: usize,
    },
    /// One of a few shared beginnings, then an end of its own.
    SharedPrefix {
        /// Length of the shared part.
        prefix: usize,
        /// How many of them there are.
        groups: usize,
        /// Length of the own part.
        own: usize,
    },
    /// Conversations, one after the other on each connection: every turn repeats what was said before it. In a chat the
    /// beginning is the system's, and between the turns stand answers, made up and as long as the plan's.
    Conversations {
        /// Length of the beginning that all of them share.
        shared: usize,
        /// Turns of each.
        turns: usize,
        /// Length of what each turn adds.
        turn: usize,
    },
    /// These, in order, and from the first again.
    Given(Arc<[Ask]>),
}

/// One request that is given rather than made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its prompt.
    pub prompt: Prompt,
    /// Tokens of its answer; `None`: as the plan says.
    pub max_tokens: Option<u32>,
}

/// A prompt that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// As it is.
    Text(String),
    /// A conversation.
    Chat {
        /// The list of its messages, as JSON.
        messages: String,
        /// What they say, for a completion.
        text: String,
    },
    /// Only its shape: blocks of equal numbers are of equal text.
    Blocks {
        /// The numbers.
        ids: Vec<u64>,
        /// Length of all of them together.
        bytes: usize,
        /// Length of each but the last.
        block: usize,
    },
}
