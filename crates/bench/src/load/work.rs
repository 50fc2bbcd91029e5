//! What requests ask, written as whole HTTP/1.1 requests.
//!
//! Prompts that are made up are stretches of one text of seeded words, so that writing a request costs one copy.

use std::io::Write;

use crate::load::plan::{Ask, BYTES_PER_TOKEN, Plan, Prompt, Work};

/// Bytes of text beyond the longest prompt, so that stretches differ.
const SPARE: usize = 1 << 16;

/// Writes the requests of one run.
pub(crate) struct Writer {
    work: Work,
    text: Vec<u8>,
    random: Random,
    number: u64,
    chat: bool,
    head: String,
    start: String,
    /// Before the number of tokens, and behind it.
    end: [String; 2],
    max_tokens: u32,
    prompt: Vec<u8>,
    /// The conversation of each connection.
    talks: Vec<Talk>,
}

/// Where a connection's conversation is.
#[derive(Clone, Copy, Default)]
struct Talk {
    number: u64,
    turns: usize,
}

impl Writer {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random(plan.seed);
        let longest = match &plan.work {
            Work::Unique { bytes } => *bytes,
            Work::SharedPrefix { prefix, own, .. } => *prefix.max(own),
            Work::Conversations { shared, turn, .. } => {
                *shared.max(turn).max(&answer_length(plan.max_tokens))
            }
            Work::Given(asks) => asks.iter().map(block_length).max().unwrap_or(0),
        };
        let mut text = Vec::with_capacity(longest + SPARE + 16);
        while text.len() < longest + SPARE {
            let letters = 2 + random.below(8);
            for _ in 0..letters {
                let letter = u8::try_from(random.below(26)).unwrap_or(0);
                text.push(b'a' + letter);
            }
            text.push(b' ');
        }
        let model = serde_json::Value::from(plan.model.as_str());
        let (path, before, after) = if plan.chat {
            ("/v1/chat/completions", "\"messages\":", "")
        } else {
            ("/v1/completions", "\"prompt\":\"", "\"")
        };
        Self {
            work: plan.work.clone(),
            text,
            random,
            number: 0,
            chat: plan.chat,
            head: format!(
                "POST {path} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\nuser-agent: pointsman-bench\r\ncontent-type: application/json\r\ncontent-length: ",
                plan.host
            ),
            start: format!("{{\"model\":{model},{before}"),
            end: [
                format!("{after},\"max_tokens\":"),
                format!(",\"stream\":{}}}", plan.stream),
            ],
            max_tokens: plan.max_tokens,
            prompt: Vec::new(),
            talks: Vec::new(),
        }
    }

    /// Writes the next request of a connection to `out`, in place of what was there.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, connection: usize) {
        self.number += 1;
        let mut prompt = std::mem::take(&mut self.prompt);
        prompt.clear();
        let max_tokens = self.compose(&mut prompt, connection, self.chat);
        let tokens = max_tokens.to_string();
        let [before, behind] = &self.end;
        let length = self.start.len() + prompt.len() + before.len() + tokens.len() + behind.len();
        out.clear();
        let _ = write!(out, "{}{length}\r\n\r\n{}", self.head, self.start);
        out.extend_from_slice(&prompt);
        let _ = write!(out, "{before}{tokens}{behind}");
        self.prompt = prompt;
    }

    /// The next prompt of a connection as the inside of a JSON text, and the length of its answer.
    pub(crate) fn ask(&mut self, connection: usize) -> (Vec<u8>, u32) {
        self.number += 1;
        let mut prompt = Vec::new();
        let tokens = self.compose(&mut prompt, connection, false);
        (prompt, tokens)
    }

    /// Writes the prompt as the inside of a JSON text, or for a chat as a list of messages, and gives the length of its
    /// answer.
    fn compose(&mut self, prompt: &mut Vec<u8>, connection: usize, chat: bool) -> u32 {
        match &self.work {
            Work::Conversations { .. } if chat => {
                self.talk(prompt, connection);
                return self.max_tokens;
            }
            Work::Given(asks) if chat => {
                if let Some(ask) = asked(asks, self.number)
                    && let Prompt::Chat { messages, .. } = &ask.prompt
                {
                    prompt.extend_from_slice(messages.as_bytes());
                    return ask.max_tokens.unwrap_or(self.max_tokens);
                }
            }
            _ => {}
        }
        if !chat {
            return self.say(prompt, connection);
        }
        prompt.extend_from_slice(b"[");
        begin(prompt, "user");
        let tokens = self.say(prompt, connection);
        prompt.extend_from_slice(b"\"}]");
        tokens
    }

    /// Writes the turns of a connection's conversation so far as messages.
    fn talk(&mut self, prompt: &mut Vec<u8>, connection: usize) {
        let Work::Conversations {
            shared,
            turns,
            turn,
        } = self.work
        else {
            return;
        };
        let talk = next_turn(&mut self.talks, connection, turns, self.number);
        prompt.extend_from_slice(b"[");
        if shared > 0 {
            begin(prompt, "system");
            prompt.extend_from_slice(&self.text[..shared]);
            prompt.extend_from_slice(b"\"},");
        }
        let answer = answer_length(self.max_tokens);
        for said in 0..talk.turns {
            if said > 0 {
                prompt.extend_from_slice(b"\"},");
                begin(prompt, "assistant");
                let at = Random(talk.seed(said)).below(SPARE);
                prompt.extend_from_slice(&self.text[at..at + answer]);
                prompt.extend_from_slice(b"\"},");
            }
            begin(prompt, "user");
            let mut words = Random(talk.seed(said));
            own(
                prompt,
                &self.text,
                &mut words,
                talk.number + said as u64,
                turn,
            );
        }
        prompt.extend_from_slice(b"\"}]");
    }

    /// Writes the prompt as the inside of a JSON text, and gives the length of its answer.
    fn say(&mut self, prompt: &mut Vec<u8>, connection: usize) -> u32 {
        let Self {
            work,
            text,
            random,
            number,
            talks,
            max_tokens,
            ..
        } = self;
        match work {
            Work::Unique { bytes } => own(prompt, text, random, *number, *bytes),
            Work::SharedPrefix {
                prefix,
                groups,
                own: length,
            } => {
                // Groups begin far enough apart to differ from the first bytes on.
                let group = random.below((*groups).max(1)) * 997 % SPARE;
                prompt.extend_from_slice(&text[group..group + *prefix]);
                own(prompt, text, random, *number, *length);
            }
            Work::Conversations {
                shared,
                turns,
                turn,
            } => {
                let talk = next_turn(talks, connection, *turns, *number);
                prompt.extend_from_slice(&text[..*shared]);
                for said in 0..talk.turns {
                    let mut words = Random(talk.seed(said));
                    own(prompt, text, &mut words, talk.number + said as u64, *turn);
                }
            }
            Work::Given(asks) => {
                if let Some(ask) = asked(asks, *number) {
                    given(prompt, text, ask);
                    return ask.max_tokens.unwrap_or(*max_tokens);
                }
            }
        }
        *max_tokens
    }
}

impl Talk {
    /// The same turn of the same conversation has the same words.
    fn seed(self, turn: usize) -> u64 {
        self.number.wrapping_mul(1009).wrapping_add(turn as u64)
    }
}

/// The conversation of a connection, one turn further on.
fn next_turn(talks: &mut Vec<Talk>, connection: usize, turns: usize, number: u64) -> Talk {
    if talks.len() <= connection {
        talks.resize(connection + 1, Talk::default());
    }
    let talk = &mut talks[connection];
    if talk.turns == 0 || talk.turns >= turns {
        *talk = Talk { number, turns: 0 };
    }
    talk.turns += 1;
    *talk
}

/// Bytes of a made-up answer of so many tokens.
fn answer_length(tokens: u32) -> usize {
    (tokens as usize * BYTES_PER_TOKEN).min(SPARE)
}

/// The request of a number, counted from 1.
fn asked(asks: &[Ask], number: u64) -> Option<&Ask> {
    let count = asks.len().max(1) as u64;
    asks.get(usize::try_from((number - 1) % count).unwrap_or(0))
}

/// Begins a message, up to what it says.
fn begin(prompt: &mut Vec<u8>, role: &str) {
    let _ = write!(prompt, "{{\"role\":\"{role}\",\"content\":\"");
}

/// Words that no other request has, behind a stamp.
fn own(prompt: &mut Vec<u8>, text: &[u8], random: &mut Random, number: u64, bytes: usize) {
    let stamp = format!("{:016x} ", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let stamp = &stamp[..bytes.min(stamp.len())];
    let at = random.below(SPARE);
    prompt.extend_from_slice(stamp.as_bytes());
    prompt.extend_from_slice(&text[at..at + bytes - stamp.len()]);
}

fn block_length(ask: &Ask) -> usize {
    match &ask.prompt {
        Prompt::Text(_) | Prompt::Chat { .. } => 0,
        Prompt::Blocks { bytes, block, .. } => *bytes.min(block),
    }
}

fn given(prompt: &mut Vec<u8>, text: &[u8], ask: &Ask) {
    match &ask.prompt {
        Prompt::Text(words) | Prompt::Chat { text: words, .. } => {
            let quoted = serde_json::Value::from(words.as_str()).to_string();
            prompt.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
        Prompt::Blocks { ids, bytes, block } => {
            for id in ids {
                let left = bytes.saturating_sub(prompt.len());
                let stamp = format!("{id:016x} ");
                let length = left.min(*block);
                let stamp = &stamp[..length.min(stamp.len())];
                let mut words = Random(*id);
                let at = words.below(SPARE);
                prompt.extend_from_slice(stamp.as_bytes());
                prompt.extend_from_slice(&text[at..at + length - stamp.len()]);
            }
        }
    }
}

/// SplitMix64: seeded, and far cheaper than what it is used for.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // The bias of a remainder is far below what prompts can notice.
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    /// A number in [0, 1).
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::load::plan::Pacing;
    use std::time::Duration;

    /// The bodies that the plan's connections ask one after the other.
    fn bodies(work: Work, connections: &[usize]) -> Vec<serde_json::Value> {
        bodies_of(work, connections, false)
    }

    fn bodies_of(work: Work, connections: &[usize], chat: bool) -> Vec<serde_json::Value> {
        let pacing = Pacing::Closed { connections: 1 };
        let mut plan = Plan::new(([127, 0, 0, 1], 1).into(), pacing, Duration::ZERO);
        plan.work = work;
        plan.chat = chat;
        plan.model = "with \"quotes\"".to_owned();
        let mut writer = Writer::new(&plan);
        let mut out = Vec::new();
        let body = |number: &usize| {
            writer.write(&mut out, *number);
            let at = memchr::memmem::find(&out, b"\r\n\r\n").unwrap() + 4;
            let head = String::from_utf8_lossy(&out[..at]).into_owned();
            assert!(head.contains(&format!("content-length: {}\r\n", out.len() - at)));
            serde_json::from_slice(&out[at..]).unwrap()
        };
        connections.iter().map(body).collect()
    }

    #[test]
    fn turns_repeat_what_was_said_on_their_connection() {
        let work = Work::Conversations {
            shared: 50,
            turns: 2,
            turn: 30,
        };
        let bodies = bodies(work, &[0, 1, 0, 0]);
        let prompts: Vec<&str> = bodies
            .iter()
            .map(|b| b["prompt"].as_str().unwrap())
            .collect();
        assert_eq!(
            prompts.iter().map(|p| p.len()).collect::<Vec<_>>(),
            [80, 80, 110, 80]
        );
        assert!(prompts[2].starts_with(prompts[0]));
        assert!(!prompts[2].starts_with(prompts[1]));
        assert_eq!(prompts[3][..50], prompts[0][..50]);
        assert_ne!(prompts[3], prompts[0]);
        assert_eq!(bodies[0]["model"], "with \"quotes\"");
    }

    #[test]
    fn turns_of_a_chat_are_messages_of_both_sides() {
        let work = Work::Conversations {
            shared: 50,
            turns: 3,
            turn: 30,
        };
        let bodies = bodies_of(work, &[0, 1, 0, 0, 0], true);
        let talk = |at: usize| bodies[at]["messages"].as_array().unwrap();
        let roles = |at: usize| -> Vec<&str> {
            talk(at)
                .iter()
                .map(|said| said["role"].as_str().unwrap())
                .collect()
        };
        assert_eq!(roles(0), ["system", "user"]);
        assert_eq!(
            roles(3),
            ["system", "user", "assistant", "user", "assistant", "user"]
        );
        assert_eq!(roles(4), ["system", "user"], "a new one");
        assert_eq!(talk(3)[..2], talk(0)[..]);
        assert_eq!(talk(3)[..4], talk(2)[..]);
        assert_ne!(talk(1)[1], talk(0)[1]);
        let length = |at: usize| talk(3)[at]["content"].as_str().unwrap().len();
        assert_eq!((length(0), length(1), length(2)), (50, 30, 32));
    }

    #[test]
    fn messages_of_a_file_are_sent_as_they_are() {
        let messages = r#"[{"content":"be brief","role":"system"},{"content":[{"text":"hi","type":"text"}],"role":"user"}]"#;
        let ask = Ask {
            prompt: Prompt::Chat {
                messages: messages.to_owned(),
                text: "be brief\nhi".to_owned(),
            },
            max_tokens: Some(3),
        };
        let work = Work::Given([ask].into());
        let chat = bodies_of(work.clone(), &[0], true);
        assert_eq!(chat[0]["messages"].to_string(), messages);
        assert_eq!(chat[0]["max_tokens"], 3);
        assert_eq!(bodies(work, &[0])[0]["prompt"], "be brief\nhi");
        let unique = bodies_of(Work::Unique { bytes: 20 }, &[0], true);
        assert_eq!(unique[0]["messages"][0]["role"], "user");
        assert_eq!(
            unique[0]["messages"][0]["content"].as_str().unwrap().len(),
            20
        );
    }

    #[test]
    fn equal_blocks_are_of_equal_text() {
        let ask = |ids: &[u64], bytes| Ask {
            prompt: Prompt::Blocks {
                ids: ids.to_vec(),
                bytes,
                block: 40,
            },
            max_tokens: Some(3),
        };
        let text = Ask {
            prompt: Prompt::Text("a \"b\"\n".to_owned()),
            max_tokens: None,
        };
        let asks = [ask(&[1, 2, 3], 110), ask(&[1, 2, 9], 120), text];
        let bodies = bodies(Work::Given(asks.into()), &[0; 4]);
        let prompts: Vec<&str> = bodies
            .iter()
            .map(|b| b["prompt"].as_str().unwrap())
            .collect();
        assert_eq!((prompts[0].len(), prompts[1].len()), (110, 120));
        assert_eq!(prompts[0][..80], prompts[1][..80]);
        assert_ne!(prompts[0][80..96], prompts[1][80..96]);
        assert_eq!(prompts[2], "a \"b\"\n");
        assert_eq!(prompts[3], prompts[0]);
        assert_eq!(
            (&bodies[0]["max_tokens"], &bodies[2]["max_tokens"]),
            (&3.into(), &8.into())
        );
    }
}
