//! OpenAI bodies: the few fields that scheduling needs, out of one pass over the raw bytes.
//!
//! The whole text is validated; nothing is built but what is returned. Of a key that occurs twice
//! the last occurrence counts, in value and in type, as in Go's decoder; keys match exactly.
//! Fields that are not needed here are left for the engine to judge. `null` in an optional field
//! is the same as leaving it out.

use crate::json::scanner::{Kind, Scanner};
use crate::json::text::Str;
use crate::request::error::RequestError;
use crate::request::nested::{has_features, include_usage, sampled_tokens};
use crate::request::prompt::{Parts, PromptSpans, Shape};
use crate::request::prompt_view::BodyPrompt;
use pointsman_core::contract::data_layer::Parser;
use std::borrow::Cow;
use std::ops::Range;

/// The generation interfaces that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiKind {
    /// `POST /v1/completions`: needs `prompt`.
    Completions,
    /// `POST /v1/chat/completions`: needs `messages`.
    ChatCompletions,
    /// `POST /v1/embeddings`: needs `input`.
    Embeddings,
    /// `POST /v1/responses`: needs `input`.
    Responses,
    /// Anthropic's `POST /v1/messages`: needs `messages`.
    Messages,
    /// `POST /v1/conversations`: needs `items`.
    Conversations,
    /// `POST /v1/images/generations`: needs `prompt`.
    Images,
    /// vLLM's `POST /inference/v1/generate`: needs `token_ids`.
    Generate,
}

impl ApiKind {
    const fn has_max_tokens(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions | Self::Completions | Self::Messages
        )
    }

    /// The kinds that the gateway's door looks into, with the path that each is served on.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Completions, "/v1/completions"),
        (Self::ChatCompletions, "/v1/chat/completions"),
        (Self::Embeddings, "/v1/embeddings"),
        (Self::Responses, "/v1/responses"),
        (Self::Messages, "/v1/messages"),
    ];

    /// The parser whose part it is.
    pub const fn parser(self) -> Parser {
        match self {
            Self::Messages => Parser::Anthropic,
            Self::Generate => Parser::VllmHttp,
            _ => Parser::OpenAi,
        }
    }

    /// The field that holds the prompt, and what it takes.
    const fn prompt_field(self) -> (&'static str, &'static str) {
        match self {
            Self::Completions => ("prompt", "a string, or a list of strings or of token ids"),
            Self::ChatCompletions => ("messages", "a list of at least one message object"),
            Self::Embeddings => ("input", "a string, or a list of strings or of token ids"),
            Self::Responses => ("input", "a string or a list of at least one item"),
            Self::Messages => ("messages", "a list of at least one message object"),
            Self::Conversations => ("items", "a list of at least one item"),
            Self::Images => ("prompt", "a string"),
            Self::Generate => ("token_ids", "a list of at least one token id"),
        }
    }
}

/// The kind of a path, if it is one of the known generation paths exactly; a query string is
/// not looked at.
pub fn classify(path: &str) -> Option<ApiKind> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    ApiKind::ALL
        .iter()
        .find(|(_, known)| *known == path)
        .map(|(kind, _)| *kind)
}

/// What scheduling needs to know of a request, borrowed from its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts<'a> {
    /// The model the client asked for; empty only after [`read_leniently`].
    pub model: Cow<'a, str>,
    /// Offsets of the model's JSON value in the body, a string's quotes included (to write another name). Without one
    /// an empty range behind the object's opening bracket.
    pub model_at: Range<usize>,
    /// Where the prompt lies in the body.
    pub prompt: PromptSpans,
    /// Raw bytes of the prompt text, or of the JSON value of `messages`, `input` or a list.
    pub prompt_bytes: usize,
    /// The client's bound on output tokens.
    pub max_tokens: Option<u32>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a streamed answer is to carry its usage.
    pub include_usage: bool,
    /// What separates this client's cached prefixes from others'.
    pub cache_salt: Option<Cow<'a, str>>,
    /// What a view of the prompt walks over.
    pub(crate) parts: Parts,
}

impl RequestFacts<'_> {
    /// The prompt as hashing sees it, over the frames that were read.
    pub fn prompt_view<'f, F: AsRef<[u8]> + Sync>(&'f self, frames: &'f [F]) -> BodyPrompt<'f, F> {
        BodyPrompt::new(frames, &self.parts)
    }
}

/// Reads a body that came in any number of frames. Errors name the first field at fault, after
/// the whole text was found to be JSON. Allocates only for texts with escapes or that lie in
/// several frames.
pub fn read<F: AsRef<[u8]>>(kind: ApiKind, frames: &[F]) -> Result<RequestFacts<'_>, RequestError> {
    let mut scanner = Scanner::new(frames);
    let mut fields = walk(kind, &mut scanner, Manner::Strict)?;
    let model = std::mem::take(&mut fields.model);
    let model = model.needed("model", "the name of a model as a string")?;
    let (prompt_field, prompt_takes) = kind.prompt_field();
    let prompt = std::mem::take(&mut fields.prompt).needed(prompt_field, prompt_takes)?;
    let count_takes = "a whole number from 0 to 4294967295";
    let bounds = [
        std::mem::take(&mut fields.max_completion_tokens)
            .optional("max_completion_tokens", count_takes)?,
        std::mem::take(&mut fields.max_tokens).optional("max_tokens", count_takes)?,
        std::mem::take(&mut fields.max_output_tokens).optional("max_output_tokens", count_takes)?,
    ];
    let stream = std::mem::take(&mut fields.stream).optional("stream", "true or false")?;
    Ok(facts(
        kind,
        &scanner,
        fields,
        Some(&model),
        prompt,
        bounds,
        stream,
    ))
}

/// Reads a body as the reference does: it needs the prompt's field, which is no empty text; a model may be missing, and
/// what is wrong with other fields, or with the input of a response, is left for the engine to judge.
///
/// # Errors
/// The text is no JSON object, or the prompt's field is at fault.
pub fn read_leniently<F: AsRef<[u8]>>(
    kind: ApiKind,
    frames: &[F],
) -> Result<RequestFacts<'_>, RequestError> {
    let mut scanner = Scanner::new(frames);
    let mut fields = walk(kind, &mut scanner, Manner::Reference)?;
    let model = std::mem::take(&mut fields.model).if_good();
    let (prompt_field, prompt_takes) = kind.prompt_field();
    let prompt = std::mem::take(&mut fields.prompt).needed(prompt_field, prompt_takes)?;
    let bounds = [
        std::mem::take(&mut fields.max_completion_tokens).if_good(),
        std::mem::take(&mut fields.max_tokens).if_good(),
        std::mem::take(&mut fields.max_output_tokens).if_good(),
    ];
    let stream = std::mem::take(&mut fields.stream).if_good();
    Ok(facts(
        kind,
        &scanner,
        fields,
        model.as_ref(),
        prompt,
        bounds,
        stream,
    ))
}

/// What a prompt may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// What an engine takes.
    Strict,
    /// What the reference takes: no empty text, and as input of a response whatever there is.
    Reference,
}

fn walk<'a, F: AsRef<[u8]>>(
    kind: ApiKind,
    scanner: &mut Scanner<'a, F>,
    manner: Manner,
) -> Result<Fields<'a>, RequestError> {
    if scanner.at_end() {
        return Err(RequestError::Empty);
    }
    let body = scanner.kind()?;
    if body != Kind::Object {
        scanner.skip_value()?;
        scanner.end()?;
        return Err(RequestError::NotAnObject {
            found: body.described(),
        });
    }
    let mut fields = Fields::default();
    let (prompt_field, _) = kind.prompt_field();
    let mut first = true;
    scanner.enter_object()?;
    fields.begins = scanner.position();
    while let Some(key) = scanner.next_key(&mut first)? {
        match scanner.key_bytes(&key).as_ref() {
            b"model" => {
                let from = scanner.offset();
                fields.model = model(scanner)?;
                fields.model_at = Some(from..scanner.position());
            }
            key if key == prompt_field.as_bytes() => fields.prompt = prompt(kind, scanner, manner)?,
            b"instructions" if kind == ApiKind::Responses => {
                fields.instructions = optional_string(scanner)?.map(|read| read.range);
            }
            b"tools" if matches!(kind, ApiKind::ChatCompletions | ApiKind::Responses) => {
                let found = scanner.kind()?;
                let tools = scanner.skip_value()?;
                fields.tools = (found != Kind::Null).then_some(tools);
            }
            b"stream" => fields.stream = flag(scanner)?,
            b"stream_options" => fields.include_usage = include_usage(scanner)?,
            b"max_completion_tokens" if kind == ApiKind::ChatCompletions => {
                fields.max_completion_tokens = count(scanner)?;
            }
            b"max_tokens" if kind.has_max_tokens() => fields.max_tokens = count(scanner)?,
            b"max_output_tokens" if kind == ApiKind::Responses => {
                fields.max_output_tokens = count(scanner)?;
            }
            b"sampling_params" if kind == ApiKind::Generate => {
                fields.max_tokens = match sampled_tokens(scanner)? {
                    Some(most) => Seen::Is(most),
                    None => Seen::Absent,
                };
            }
            b"features" if kind == ApiKind::Generate => fields.features = has_features(scanner)?,
            b"cache_salt" => fields.cache_salt = optional_string(scanner)?,
            _ => {
                scanner.skip_value()?;
            }
        }
    }
    scanner.end()?;
    Ok(fields)
}

/// `bounds`: of chat, of completions, of responses.
fn facts<'a, F: AsRef<[u8]>>(
    kind: ApiKind,
    scanner: &Scanner<'a, F>,
    fields: Fields<'a>,
    model: Option<&Str<'a>>,
    prompt: Found,
    bounds: [Option<u32>; 3],
    stream: Option<bool>,
) -> RequestFacts<'a> {
    let mut spans = PromptSpans::default();
    let parts = Parts {
        shape: prompt.shape,
        prompt: prompt.range.clone(),
        tools: fields.tools,
        // The view wants the value, quotes included.
        instructions: fields
            .instructions
            .as_ref()
            .map(|text| text.start - 1..text.end + 1),
        response: kind == ApiKind::Responses,
        features: fields.features,
    };
    if let Some(instructions) = fields.instructions {
        spans.push(instructions);
    }
    let prompt_bytes = prompt.range.len();
    spans.push(prompt.range);
    RequestFacts {
        model: model.map_or(Cow::Borrowed(""), |model| scanner.text(model)),
        model_at: fields.model_at.unwrap_or(fields.begins..fields.begins),
        prompt: spans,
        prompt_bytes,
        max_tokens: bounds.into_iter().flatten().next(),
        stream: stream.unwrap_or(false),
        include_usage: fields.include_usage,
        cache_salt: fields.cache_salt.map(|salt| scanner.text(&salt)),
        parts,
    }
}

/// The fields of a body as they were last seen.
#[derive(Default)]
struct Fields<'a> {
    /// Where the object's members begin.
    begins: usize,
    model: Seen<Str<'a>>,
    /// The model's value, whatever it is.
    model_at: Option<Range<usize>>,
    prompt: Seen<Found>,
    instructions: Option<Range<usize>>,
    tools: Option<Range<usize>>,
    max_completion_tokens: Seen<u32>,
    max_tokens: Seen<u32>,
    max_output_tokens: Seen<u32>,
    stream: Seen<bool>,
    include_usage: bool,
    cache_salt: Option<Str<'a>>,
    features: bool,
}

/// The field of the prompt as it was last seen.
struct Found {
    range: Range<usize>,
    shape: Shape,
}

/// A field as it was last seen. Whether it is wrong is decided after the last occurrence.
#[derive(Default)]
enum Seen<T> {
    #[default]
    Absent,
    Is(T),
    Wrong(&'static str),
    /// Something inside the field is wrong: the path below it, what was found, what is right.
    WrongInside(String, &'static str, &'static str),
}

impl<T> Seen<T> {
    /// The value, if there is a good one.
    fn if_good(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            _ => None,
        }
    }

    fn needed(self, field: &'static str, expected: &'static str) -> Result<T, RequestError> {
        self.optional(field, expected)?
            .ok_or(RequestError::Missing { field, expected })
    }

    fn optional(
        self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, RequestError> {
        match self {
            Self::Absent => Ok(None),
            Self::Is(value) => Ok(Some(value)),
            Self::Wrong(found) => Err(RequestError::WrongType {
                field: field.into(),
                found,
                expected,
            }),
            Self::WrongInside(path, found, expected) => Err(RequestError::WrongType {
                field: format!("{field}{path}").into(),
                found,
                expected,
            }),
        }
    }
}

type Read<T> = Result<T, RequestError>;

fn wrong<T, F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>, kind: Kind) -> Read<Seen<T>> {
    scanner.skip_value()?;
    Ok(Seen::Wrong(kind.described()))
}

fn model<'a, F: AsRef<[u8]>>(scanner: &mut Scanner<'a, F>) -> Read<Seen<Str<'a>>> {
    match scanner.kind()? {
        Kind::Str => {
            let name = scanner.string()?;
            Ok(if name.range.is_empty() {
                Seen::Wrong("an empty string")
            } else {
                Seen::Is(name)
            })
        }
        other => wrong(scanner, other),
    }
}

fn flag<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<bool>> {
    match scanner.kind()? {
        Kind::Bool => Ok(Seen::Is(scanner.boolean()?)),
        Kind::Null => absent(scanner),
        other => wrong(scanner, other),
    }
}

fn absent<T, F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<T>> {
    scanner.skip_value()?;
    Ok(Seen::Absent)
}

/// A whole number that is not negative; `16.0` and `1e2` are whole numbers too.
fn count<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<u32>> {
    match scanner.kind()? {
        Kind::Number => {
            let range = scanner.number()?;
            let digits = scanner.bytes(&range);
            let value: f64 = std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(f64::NAN);
            Ok(if value < 0.0 {
                Seen::Wrong("a negative number")
            } else if value > f64::from(u32::MAX) {
                Seen::Wrong("a number that is too large")
            } else if value.fract() != 0.0 {
                Seen::Wrong("a fraction")
            } else {
                Seen::Is(value as u32)
            })
        }
        Kind::Null => absent(scanner),
        other => wrong(scanner, other),
    }
}

/// A string that may be missing; what is not a string is left for the engine to judge.
fn optional_string<'a, F: AsRef<[u8]>>(scanner: &mut Scanner<'a, F>) -> Read<Option<Str<'a>>> {
    if scanner.kind()? == Kind::Str {
        return Ok(Some(scanner.string()?));
    }
    scanner.skip_value()?;
    Ok(None)
}

fn prompt<F: AsRef<[u8]>>(
    kind: ApiKind,
    scanner: &mut Scanner<'_, F>,
    manner: Manner,
) -> Read<Seen<Found>> {
    let as_reference = manner == Manner::Reference;
    let (seen, shape) = match (scanner.kind()?, kind) {
        (
            Kind::Str,
            ApiKind::Completions | ApiKind::Embeddings | ApiKind::Responses | ApiKind::Images,
        ) => {
            let text = scanner.string()?;
            let escaped = text.escaped;
            let seen = match text.range.is_empty() && as_reference && kind != ApiKind::Responses {
                true => Seen::Wrong("an empty string"),
                false => Seen::Is(text.range),
            };
            (seen, Shape::Text { escaped })
        }
        (found, ApiKind::Responses) if as_reference && found != Kind::Null => {
            (Seen::Is(scanner.skip_value()?), Shape::Items)
        }
        (Kind::List, ApiKind::ChatCompletions | ApiKind::Messages) => {
            (messages(scanner)?, Shape::Messages)
        }
        (Kind::List, ApiKind::Completions | ApiKind::Embeddings) => {
            (texts_or_tokens(scanner)?, Shape::List)
        }
        (Kind::List, ApiKind::Generate) => (tokens(scanner)?, Shape::List),
        (Kind::List, ApiKind::Responses | ApiKind::Conversations) => {
            (items(scanner)?, Shape::Items)
        }
        (other, _) => (wrong(scanner, other)?, Shape::List),
    };
    Ok(match seen {
        Seen::Absent => Seen::Absent,
        Seen::Is(range) => Seen::Is(Found { range, shape }),
        Seen::Wrong(found) => Seen::Wrong(found),
        Seen::WrongInside(path, found, expected) => Seen::WrongInside(path, found, expected),
    })
}

/// Walks the list that follows; `element` looks at one element (and reads it) and says what is
/// wrong with it. The first complaint stays.
fn list<'a, F: AsRef<[u8]>>(
    scanner: &mut Scanner<'a, F>,
    mut element: impl FnMut(&mut Scanner<'a, F>, usize) -> Read<Option<Seen<Range<usize>>>>,
) -> Read<Seen<Range<usize>>> {
    let start = scanner.offset();
    let mut complaint = None;
    let mut n = 0;
    let mut first = true;
    scanner.enter_list()?;
    while scanner.next_element(&mut first)? {
        if complaint.is_none() {
            complaint = element(scanner, n)?;
        } else {
            scanner.skip_value()?;
        }
        n += 1;
    }
    let range = start..scanner.position();
    Ok(match complaint {
        Some(complaint) => complaint,
        None if n == 0 => Seen::Wrong("an empty list"),
        None => Seen::Is(range),
    })
}

fn messages<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<Range<usize>>> {
    list(scanner, |scanner, n| {
        let found = scanner.kind()?;
        if found != Kind::Object {
            scanner.skip_value()?;
            return Ok(Some(Seen::WrongInside(
                format!("[{n}]"),
                found.described(),
                "a message object",
            )));
        }
        let mut content = None;
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            if scanner.key_bytes(&key).as_ref() == b"content" {
                content = Some(scanner.kind()?);
            }
            scanner.skip_value()?;
        }
        Ok(match content {
            Some(found @ (Kind::Object | Kind::Number | Kind::Bool)) => Some(Seen::WrongInside(
                format!("[{n}].content"),
                found.described(),
                "a string, null or a list of parts",
            )),
            _ => None,
        })
    })
}

fn items<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<Range<usize>>> {
    list(scanner, |scanner, n| {
        let found = scanner.kind()?;
        scanner.skip_value()?;
        Ok((found != Kind::Object)
            .then(|| Seen::WrongInside(format!("[{n}]"), found.described(), "an item object")))
    })
}

/// A list of strings, of token ids, or of lists of token ids; all elements of one kind.
fn texts_or_tokens<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<Range<usize>>> {
    let mut kind = None;
    list(scanner, |scanner, n| {
        let found = scanner.kind()?;
        let fits = match *kind.get_or_insert(found) {
            Kind::Str => found == Kind::Str,
            Kind::Number | Kind::List => Some(found) == kind,
            _ => false,
        };
        if !fits {
            scanner.skip_value()?;
            let expected = match kind {
                Some(Kind::Str) => "a string like the first element",
                Some(Kind::Number) => "a token id like the first element",
                Some(Kind::List) => "a list of token ids like the first element",
                _ => "a string, a token id or a list of token ids",
            };
            return Ok(Some(Seen::WrongInside(
                format!("[{n}]"),
                found.described(),
                expected,
            )));
        }
        match found {
            Kind::Number => {
                Ok(token(scanner)?.map(|found| Seen::WrongInside(format!("[{n}]"), found, TOKEN)))
            }
            Kind::List => {
                let mut wrong = None;
                let mut at = 0;
                let mut first = true;
                scanner.enter_list()?;
                while scanner.next_element(&mut first)? {
                    let found = token(scanner)?;
                    if let (Some(found), None) = (found, &wrong) {
                        wrong = Some(Seen::WrongInside(format!("[{n}][{at}]"), found, TOKEN));
                    }
                    at += 1;
                }
                Ok(wrong)
            }
            _ => {
                scanner.skip_value()?;
                Ok(None)
            }
        }
    })
}

/// A list of token ids.
fn tokens<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Seen<Range<usize>>> {
    list(scanner, |scanner, n| {
        Ok(token(scanner)?.map(|found| Seen::WrongInside(format!("[{n}]"), found, TOKEN)))
    })
}

const TOKEN: &str = "a token id, a whole number of at least 0";

/// Reads an element that should be a token id; what it is instead.
fn token<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Read<Option<&'static str>> {
    let found = scanner.kind()?;
    if found != Kind::Number {
        scanner.skip_value()?;
        return Ok(Some(found.described()));
    }
    let range = scanner.number()?;
    let digits = scanner.bytes(&range);
    Ok(match digits.as_ref() {
        [b'-', ..] => Some("a negative number"),
        digits if digits.iter().all(u8::is_ascii_digit) => None,
        _ => Some("a fraction"),
    })
}
