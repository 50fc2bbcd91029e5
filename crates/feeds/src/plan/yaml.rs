//! From the text of a configuration, YAML or JSON, to a tree with the place of every value.
//!
//! Bounded before anything is built: the text's size, nodes with every alias counted as often as it is used, depth.
//! So a file that would unfold into gigabytes is refused after a few milliseconds. One document, plain tags, names
//! that are text, each once in its map; `<<` merges as in YAML 1.1. Every duplicate name is told; a fault of syntax
//! ends the reading, because nothing after it can be trusted.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Tag};
use pointsman_core::config::fault::{Fault, Place};
use pointsman_core::config::tree::{Entry, Node, Scalar, Tree};
use pointsman_core::config::written::Written;

/// Largest text that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Most values, names and lists that a document holds once its aliases are unfolded.
pub const MAX_NODES: usize = 20_000;

/// Levels of lists and maps that are read; one more is refused.
pub const MAX_DEPTH: usize = 128;

/// Reads a text.
///
/// # Errors
/// Everything wrong with its form, each with its place.
pub fn parse(text: &str) -> Result<Tree, Vec<Fault>> {
    parse_within(text, MAX_NODES)
}

/// The same for a document of at most `most` values.
///
/// # Errors
/// Everything wrong with its form, each with its place.
pub fn parse_within(text: &str, most: usize) -> Result<Tree, Vec<Fault>> {
    if text.len() > MAX_BYTES {
        let message = format!("the text is larger than {MAX_BYTES} bytes; split or shorten it");
        return Err(vec![Fault::error("", message)]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.set_emit_comments(false);
    // Counted here, with a message of our own.
    (options.flow_nesting_limit, options.block_nesting_limit) = (MAX_DEPTH + 1, MAX_DEPTH + 1);
    let mut composer = Composer {
        most,
        ..Composer::default()
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => composer.take(event, place(&span.start)),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(fault) = step {
            composer.faults.push(fault);
            return Err(composer.faults);
        }
    }
    if !composer.faults.is_empty() {
        return Err(composer.faults);
    }
    composer.root.ok_or_else(|| {
        let place = Place { line: 1, column: 1 };
        vec![Fault::error("", "the file is empty; write what it is to hold").at(place)]
    })
}

/// Writes a configuration as YAML.
///
/// # Errors
/// Something in it has no form in YAML.
pub fn write(written: &Written) -> Result<String, Fault> {
    serde_saphyr::to_string(written)
        .map_err(|why| Fault::error("", format!("the configuration cannot be written: {why}")))
}

fn syntax(error: &ScanError) -> Fault {
    let message = match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(),
        _ => error.info(),
    };
    Fault::error("", message).at(place(error.marker()))
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} levels deep; flatten it")
}

fn place(marker: &Marker) -> Place {
    Place {
        line: marker.line() as u32,
        column: marker.col() as u32 + 1,
    }
}

/// A list or map that is not closed yet.
struct Open {
    place: Place,
    anchor: usize,
    node: OpenNode,
}

enum OpenNode {
    List(Vec<Tree>),
    Map {
        entries: Vec<Entry>,
        merged: Vec<Tree>,
        name: Option<(String, Place, bool)>,
    },
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    anchors: HashMap<usize, (Tree, usize)>,
    documents: usize,
    nodes: usize,
    /// Most values that are taken.
    most: usize,
    root: Option<Tree>,
    faults: Vec<Fault>,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "the file holds a second document; keep one";
                    return Err(Fault::error("", message).at(place));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref(), place)?;
                let scalar = Scalar {
                    text: text.into_owned(),
                    plain,
                };
                let node = Node::Scalar(scalar);
                self.add(Tree { place, node }, anchor, plain)
            }
            Event::SequenceStart(_, anchor, tag) => {
                is_text(tag.as_deref(), place)?;
                self.open(OpenNode::List(Vec::new()), anchor, place)
            }
            Event::MappingStart(_, anchor, tag) => {
                is_text(tag.as_deref(), place)?;
                let node = OpenNode::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    name: None,
                };
                self.open(node, anchor, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some((_, size)) = self.anchors.get(&id) else {
                    let message = "this alias stands inside what it refers to; write the value out";
                    return Err(Fault::error("", message).at(place));
                };
                // Counted before it is copied.
                self.nodes += size;
                self.check_nodes(place)?;
                let tree = Tree {
                    place,
                    node: self.anchors[&id].0.node.clone(),
                };
                self.add(tree, 0, false)
            }
            _ => Ok(()),
        }
    }

    fn check_nodes(&self, place: Place) -> Result<(), Fault> {
        if self.nodes <= self.most {
            return Ok(());
        }
        let most = self.most;
        let message = format!(
            "the document holds more than {most} values, with its aliases unfolded; shorten it"
        );
        Err(Fault::error("", message).at(place))
    }

    fn open(&mut self, node: OpenNode, anchor: usize, place: Place) -> Result<(), Fault> {
        self.nodes += 1;
        self.check_nodes(place)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::error("", too_deep()).at(place));
        }
        if let Some(Open {
            node: OpenNode::Map { name: None, .. },
            ..
        }) = self.open.last()
        {
            let message = "a name in a map must be text";
            return Err(Fault::error("", message).at(place));
        }
        self.open.push(Open {
            place,
            anchor,
            node,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open {
            place,
            anchor,
            node,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let node = match node {
            OpenNode::List(items) => Node::List(items),
            OpenNode::Map {
                mut entries,
                merged,
                ..
            } => {
                for tree in merged {
                    merge(&mut entries, tree)?;
                }
                Node::Map(entries)
            }
        };
        self.nodes -= 1;
        self.add(Tree { place, node }, anchor, false)
    }

    /// Adds a whole value to what encloses it; `plain`: a scalar without quotes.
    fn add(&mut self, tree: Tree, anchor: usize, plain: bool) -> Result<(), Fault> {
        self.nodes += 1;
        self.check_nodes(tree.place)?;
        if anchor != 0 {
            let size = size_of(&tree);
            self.anchors.insert(anchor, (tree.clone(), size));
        }
        let place = tree.place;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(tree);
            return Ok(());
        };
        match &mut open.node {
            OpenNode::List(items) => items.push(tree),
            OpenNode::Map {
                entries,
                merged,
                name,
            } => match name.take() {
                None => {
                    let Node::Scalar(scalar) = tree.node else {
                        let message = "a name in a map must be text";
                        return Err(Fault::error("", message).at(place));
                    };
                    *name = Some((scalar.text, place, plain));
                }
                Some((text, _, true)) if text == "<<" => merged.push(tree),
                Some((text, at, _)) => {
                    if let Some(first) = entries.iter().find(|entry| entry.name == text) {
                        let message = format!(
                            "duplicate key \"{text}\"; line {} has it already, remove one",
                            first.place.line
                        );
                        self.faults.push(Fault::error("", message).at(at));
                        return Ok(());
                    }
                    entries.push(Entry {
                        name: text,
                        place: at,
                        value: tree,
                    });
                }
            },
        }
        Ok(())
    }
}

/// Whether a tag says that a scalar is text.
fn is_text(tag: Option<&Tag>, place: Place) -> Result<bool, Fault> {
    let Some(tag) = tag else { return Ok(false) };
    match tag.core_suffix() {
        Some("str") => Ok(true),
        Some("int" | "float" | "bool" | "null" | "seq" | "map") => Ok(false),
        _ => {
            let message = format!("the tag {} is not known; leave it out", tag.original());
            Err(Fault::error("", message).at(place))
        }
    }
}

/// Takes over the entries of a merged map that are not there yet.
fn merge(entries: &mut Vec<Entry>, tree: Tree) -> Result<(), Fault> {
    match tree.node {
        Node::Map(others) => {
            for other in others {
                if !entries.iter().any(|entry| entry.name == other.name) {
                    entries.push(other);
                }
            }
            Ok(())
        }
        Node::List(items) => items.into_iter().try_for_each(|item| merge(entries, item)),
        Node::Scalar(_) => {
            let message = "'<<' merges maps; give it an alias of one";
            Err(Fault::error("", message).at(tree.place))
        }
    }
}

fn size_of(tree: &Tree) -> usize {
    match &tree.node {
        Node::Scalar(_) => 1,
        Node::List(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Node::Map(entries) => 1 + entries.iter().map(|e| 1 + size_of(&e.value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::config::shape::taken;
    use serde_json::json;

    #[track_caller]
    fn reads(text: &str, expected: serde_json::Value) {
        let tree = parse(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        assert_eq!(taken(&tree), expected, "{text}");
    }

    #[track_caller]
    fn refuses(text: &str, line: u32, column: u32, words: &str) {
        let faults = parse(text).expect_err(text);
        let fault = &faults[0];
        assert!(fault.message.contains(words), "{fault:?}");
        assert_eq!(fault.place, Some(Place { line, column }), "{fault:?}");
    }

    #[test]
    fn yaml_and_json_are_read() {
        reads(
            "a: 1\nb: [x, 'y', 2.5]\n",
            json!({"a": 1, "b": ["x", "y", 2.5]}),
        );
        reads(
            "{\"a\": {\"b\": null}, \"c\": true}",
            json!({"a": {"b": null}, "c": true}),
        );
        reads(
            "a: no\nb: 0o17\nc: 012\nd: !!str 5\n",
            json!({"a": "no", "b": 15, "c": "012", "d": "5"}),
        );
        reads("\u{feff}a: 1\r\nb: 2\r\n", json!({"a": 1, "b": 2}));
        reads("---\na: 1 # said\n...\n", json!({"a": 1}));
        reads(
            "x: &l {k: v}\ny: *l\nz: {<<: *l, w: 1}\n",
            json!({"x": {"k": "v"}, "y": {"k": "v"}, "z": {"w": 1, "k": "v"}}),
        );
    }

    #[test]
    fn faults_of_form_have_their_place() {
        refuses(
            "a: 1\nb: 2\na: 3\n",
            3,
            1,
            "duplicate key \"a\"; line 1 has it already",
        );
        refuses("a: 1\n---\nb: 2\n", 2, 1, "second document");
        refuses("? [x]\n: 1\n", 1, 3, "a name in a map must be text");
        refuses("a: !secret x\n", 1, 12, "the tag !secret is not known");
        refuses("a: {<<: 5}\n", 1, 9, "'<<' merges maps");
        refuses("", 1, 1, "the file is empty");
        let faults = parse("a:\n\tb: 1\n").expect_err("tabs do not indent");
        assert_eq!(faults[0].place.map(|p| p.line), Some(2), "{faults:?}");
        assert_eq!(parse("a: 1\na: 2\nb: 1\nb: 2\n").expect_err("two").len(), 2);
    }

    #[test]
    fn what_would_unfold_is_refused_early() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let below = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", "));
        }
        let faults = parse(&bomb).expect_err("a bomb");
        assert!(
            faults[0].message.contains("more than 20000 values"),
            "{faults:?}"
        );
        let itself = parse("a: &a [*a]\n").expect_err("itself");
        assert!(!itself.is_empty());
        let flat = format!("[{}]", "x,".repeat(30_000));
        assert!(
            parse(&flat).expect_err("flat")[0]
                .message
                .contains("more than 20000")
        );
        assert!(parse(&"x".repeat(MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn depth_is_bounded_without_growing_the_stack() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse(&nested(20_000)).is_err());
        assert!(parse(&"- ".repeat(20_000)).is_err());
    }
}
