//! The prompt of a body as hashing sees it ([`PromptView`]): the bytes that the reference hashes, out of the frames
//! as they came, without joining them and without a copy of the text.
//!
//! | body | [`Form::Json`] | [`Form::Text`] |
//! |---|---|---|
//! | completion, embedding: a string, strings | the text, a prompt per string | the same |
//! | token ids, lists of them | little-endian 32-bit words, a prompt per list | the same |
//! | chat | JSON of the messages: role, content | JSON of the tools, then role and text of each message |
//! | response | JSON of `[{instructions},{tools},{input}]` | the same |
//!
//! JSON is written as Go writes what it has read into its types: keys in their order, fields that are empty left out,
//! `<`, `>` and `&` escaped, and of structured content the type, the text and the URL of an image. In
//! [`Form::Text`], an image, video or audio part stands as `prompt_view/asset.rs` says.
//!
//! Unlike Go, keys match in their exact case only, and a part of the wrong type counts as empty (the reference
//! refuses the request). A completion's text without escapes is handed over where it lies.

mod asset;
mod outlet;
mod string;
mod value;

use std::fmt;
use std::ops::{ControlFlow, Range};

use pointsman_core::model::assets::AssetRules;
use pointsman_core::model::prompt::{Form, Piece, PromptView};

use crate::json::scanner::{Kind, Scanner};
use crate::json::text::Str;
use crate::request::prompt::{Parts, Shape};
use crate::request::prompt_view::outlet::{Flow, Outlet, Sink, valid};
use crate::request::prompt_view::string::{quoted, text};
use crate::request::prompt_view::value::value;

/// The prompt of a request over the frames of its body; made by
/// [`RequestFacts::prompt_view`](crate::request::openai::RequestFacts::prompt_view).
pub struct BodyPrompt<'a, F> {
    frames: &'a [F],
    parts: &'a Parts,
    rules: AssetRules,
}

impl<'a, F: AsRef<[u8]> + Sync> BodyPrompt<'a, F> {
    pub(crate) fn new(frames: &'a [F], parts: &'a Parts) -> Self {
        Self {
            frames,
            parts,
            rules: AssetRules::default(),
        }
    }

    /// The same, with images and videos counted by these rules.
    #[must_use]
    pub fn counted_by(self, rules: AssetRules) -> Self {
        Self { rules, ..self }
    }

    fn give(&self, form: Form, out: &mut Outlet<'_>) -> Flow {
        let start = self.parts.prompt.start;
        match self.parts.shape {
            _ if self.parts.response => self.response(out)?,
            Shape::Text { escaped } => {
                text(
                    self.frames,
                    &Str::at(self.parts.prompt.clone(), escaped),
                    out,
                )?;
            }
            Shape::List => return self.list(out),
            Shape::Messages | Shape::Items => {
                let tools = self.parts.tools.as_ref();
                if let (Form::Text, Some(tools)) = (form, tools) {
                    self.tools(tools, out)?;
                }
                let mut scanner = Scanner::at(self.frames, start);
                messages(self.frames, &mut scanner, form, out)?;
            }
        }
        out.end()
    }

    /// The JSON of the tools, unless the list is empty.
    fn tools(&self, tools: &Range<usize>, out: &mut Outlet<'_>) -> Flow {
        let mut scanner = Scanner::at(self.frames, tools.start);
        if valid(scanner.kind())? != Kind::List {
            return Flow::Continue(());
        }
        valid(scanner.enter_list())?;
        if valid(scanner.next_element(&mut true))? {
            value(self.frames, tools.start, out)?;
        }
        Flow::Continue(())
    }

    fn response(&self, out: &mut Outlet<'_>) -> Flow {
        let mut before: &[u8] = b"[{";
        let named = [
            (&b"\"instructions\":"[..], self.parts.instructions.as_ref()),
            (b"\"tools\":", self.parts.tools.as_ref()),
        ];
        for (name, part) in named {
            if let Some(part) = part {
                out.run(std::mem::replace(&mut before, b",{"))?;
                out.run(name)?;
                value(self.frames, part.start, out)?;
                out.run(b"}")?;
            }
        }
        out.run(before)?;
        out.run(b"\"input\":")?;
        match self.parts.shape {
            Shape::Text { escaped } => {
                quoted(
                    self.frames,
                    &Str::at(self.parts.prompt.clone(), escaped),
                    out,
                )?;
            }
            _ => value(self.frames, self.parts.prompt.start, out)?,
        }
        out.run(b"}]")
    }

    /// A list of strings, of token ids, or of lists of token ids.
    fn list(&self, out: &mut Outlet<'_>) -> Flow {
        let mut scanner = Scanner::at(self.frames, self.parts.prompt.start);
        let mut first = true;
        let mut ids = false;
        valid(scanner.enter_list())?;
        while valid(scanner.next_element(&mut first))? {
            match valid(scanner.kind())? {
                Kind::Str => {
                    let entry = valid(scanner.string())?;
                    text(self.frames, &entry, out)?;
                    out.end()?;
                }
                Kind::List => {
                    let mut first = true;
                    valid(scanner.enter_list())?;
                    while valid(scanner.next_element(&mut first))? {
                        id(&mut scanner, out)?;
                    }
                    out.end()?;
                }
                _ => {
                    ids = true;
                    id(&mut scanner, out)?;
                }
            }
        }
        if ids { out.end() } else { Flow::Continue(()) }
    }
}

impl<F: AsRef<[u8]> + Sync> PromptView for BodyPrompt<'_, F> {
    fn walk(&self, form: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        // Broken off or through: there is nothing left to do.
        let mut out = Outlet::new(take);
        out.rules = self.rules;
        let _ = self.give(form, &mut out);
    }

    fn several(&self) -> bool {
        self.parts.shape == Shape::List
    }

    fn multimodal(&self) -> bool {
        if self.parts.shape != Shape::Messages {
            return self.parts.features;
        }
        let mut take = |_: Piece<'_>| ControlFlow::Continue(());
        let mut out = Outlet::new(&mut take);
        let _ = self.give(Form::Text, &mut out);
        out.has_assets()
    }
}

impl<F> fmt::Debug for BodyPrompt<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text of a prompt is never printed.
        f.write_str("BodyPrompt(..)")
    }
}

/// A token id as four bytes, the lowest first.
fn id<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>, out: &mut Outlet<'_>) -> Flow {
    let range = valid(scanner.skip_value())?;
    let digits = scanner.bytes(&range);
    // Ids beyond 32 bits are none; they are told apart by their lower half.
    let id = digits
        .iter()
        .filter(|digit| digit.is_ascii_digit())
        .fold(0_u32, |id, &digit| {
            id.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
        });
    out.run(&id.to_le_bytes())
}

/// The value of a member.
enum Member<'a, F> {
    /// A string.
    Text(Str<'a>),
    /// A list, the scanner in front of it.
    List(Scanner<'a, F>),
    /// Anything else, the scanner in front of it.
    Other(Scanner<'a, F>),
}

/// The scanner in front of the value that it has stepped over.
fn stepped_over<'a, F: AsRef<[u8]>>(
    scanner: &mut Scanner<'a, F>,
) -> ControlFlow<(), Scanner<'a, F>> {
    let before = scanner.clone();
    valid(scanner.skip_value())?;
    ControlFlow::Continue(before)
}

/// The members of the object that follows whose keys are `names`, as they last occur. Any other value is skipped
/// and has none.
fn members<'a, F: AsRef<[u8]>, const N: usize>(
    scanner: &mut Scanner<'a, F>,
    names: [&[u8]; N],
) -> ControlFlow<(), [Option<Member<'a, F>>; N]> {
    let mut found = [const { None }; N];
    if valid(scanner.kind())? != Kind::Object {
        valid(scanner.skip_value())?;
        return ControlFlow::Continue(found);
    }
    let mut first = true;
    valid(scanner.enter_object())?;
    while let Some(key) = valid(scanner.next_key(&mut first))? {
        let key = scanner.key_bytes(&key);
        let which = names.iter().position(|name| *name == key.as_ref());
        let value = match valid(scanner.kind())? {
            Kind::Str => Member::Text(valid(scanner.string())?),
            Kind::List => Member::List(stepped_over(scanner)?),
            _ => Member::Other(stepped_over(scanner)?),
        };
        if let Some(which) = which {
            found[which] = Some(value);
        }
    }
    ControlFlow::Continue(found)
}

/// The string of a member, if it is one and not empty.
fn string_of<F>(member: Option<Member<'_, F>>) -> Option<Str<'_>> {
    match member {
        Some(Member::Text(text)) if !text.range.is_empty() => Some(text),
        _ => None,
    }
}

/// The members of a member, which has none unless it is an object.
fn members_of<'a, F: AsRef<[u8]>, const N: usize>(
    member: Option<Member<'a, F>>,
    names: [&[u8]; N],
) -> ControlFlow<(), [Option<Member<'a, F>>; N]> {
    match member {
        Some(Member::Other(mut scanner)) => members(&mut scanner, names),
        _ => ControlFlow::Continue([const { None }; N]),
    }
}

/// The messages of a chat, the scanner in front of their list.
fn messages<'a, F: AsRef<[u8]>>(
    frames: &'a [F],
    scanner: &mut Scanner<'a, F>,
    form: Form,
    out: &mut Outlet<'_>,
) -> Flow {
    let mut first = true;
    let mut before: &[u8] = b"[";
    valid(scanner.enter_list())?;
    while valid(scanner.next_element(&mut first))? {
        let [role, content] = members(scanner, [b"role", b"content"])?;
        let role = string_of(role);
        match form {
            Form::Json => {
                out.run(std::mem::replace(&mut before, b","))?;
                out.run(b"{")?;
                if let Some(role) = role {
                    out.run(b"\"role\":")?;
                    quoted(frames, &role, out)?;
                    out.run(b",")?;
                }
                out.run(b"\"content\":")?;
                json_content(frames, content, out)?;
                out.run(b"}")?;
            }
            Form::Text => {
                if let Some(role) = role {
                    text(frames, &role, out)?;
                }
                text_content(frames, content, out)?;
            }
        }
    }
    match form {
        Form::Json => out.run(b"]"),
        Form::Text => Flow::Continue(()),
    }
}

fn json_content<'a, F: AsRef<[u8]>>(
    frames: &'a [F],
    content: Option<Member<'a, F>>,
    out: &mut Outlet<'_>,
) -> Flow {
    let mut scanner = match content {
        Some(Member::Text(whole)) => return quoted(frames, &whole, out),
        Some(Member::List(list)) => list,
        _ => return out.run(b"\"\""),
    };
    let mut first = true;
    let mut comma: &[u8] = b"";
    out.run(b"[")?;
    valid(scanner.enter_list())?;
    while valid(scanner.next_element(&mut first))? {
        let [kind, text, image] = members(&mut scanner, [b"type", b"text", b"image_url"])?;
        out.run(std::mem::replace(&mut comma, b","))?;
        out.run(b"{\"type\":")?;
        match string_of(kind) {
            Some(kind) => quoted(frames, &kind, out)?,
            None => out.run(b"\"\"")?,
        }
        if let Some(text) = string_of(text) {
            out.run(b",\"text\":")?;
            quoted(frames, &text, out)?;
        }
        out.run(b",\"image_url\":{")?;
        let [url] = members_of(image, [b"url"])?;
        if let Some(url) = string_of(url) {
            out.run(b"\"url\":")?;
            quoted(frames, &url, out)?;
        }
        out.run(b"}}")?;
    }
    out.run(b"]")
}

fn text_content<'a, F: AsRef<[u8]>>(
    frames: &'a [F],
    content: Option<Member<'a, F>>,
    out: &mut Outlet<'_>,
) -> Flow {
    let mut scanner = match content {
        Some(Member::Text(whole)) => return text(frames, &whole, out),
        Some(Member::List(list)) => list,
        _ => return Flow::Continue(()),
    };
    let mut first = true;
    valid(scanner.enter_list())?;
    while valid(scanner.next_element(&mut first))? {
        let names: [&[u8]; 6] = [
            b"type",
            b"text",
            b"image_url",
            b"video_url",
            b"audio_url",
            b"input_audio",
        ];
        let [kind, plain, image, video, audio, input] = members(&mut scanner, names)?;
        let Some(kind) = string_of(kind) else {
            continue;
        };
        match scanner.text(&kind).as_ref() {
            "text" => {
                if let Some(plain) = string_of(plain) {
                    text(frames, &plain, out)?;
                }
            }
            "image_url" => asset::image(frames, url_of(image)?.as_ref(), out)?,
            "video_url" => asset::video(frames, url_of(video)?.as_ref(), out)?,
            "audio_url" => asset::audio(frames, url_of(audio)?.as_ref(), out)?,
            "input_audio" => {
                let [data, format] = members_of(input, [b"data", b"format"])?;
                let (data, format) = (string_of(data), string_of(format));
                asset::recording(frames, data.as_ref(), format.as_ref(), out)?;
            }
            _ => {}
        }
    }
    Flow::Continue(())
}

/// The URL of a part that refers to something.
fn url_of<'a, F: AsRef<[u8]>>(part: Option<Member<'a, F>>) -> ControlFlow<(), Option<Str<'a>>> {
    let [url] = members_of(part, [b"url"])?;
    ControlFlow::Continue(string_of(url))
}
