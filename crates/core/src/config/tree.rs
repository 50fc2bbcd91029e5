//! A document as it was written: scalars with their text, entries in order, everything with its place.
//!
//! The tree knows nothing about what a document means; [`crate::config::shape`] turns it into values by a schema.

use crate::config::fault::Place;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub node: Node,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// One word or text.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Tree>),
    /// Entries in order, each name once.
    Map(Vec<Entry>),
}

/// A scalar as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Its text.
    pub text: String,
    /// Whether it stands without quotes, so that `5`, `true` or `~` may be more than text.
    pub plain: bool,
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// Its value.
    pub value: Tree,
}

impl Tree {
    /// The place that a path such as `plugins[1].parameters.weight` means: of the value, or of the name before it if
    /// `on_name` is set or the value begins on a later line. Of a path that leads nowhere the deepest part that exists.
    pub fn place_of(&self, path: &str, on_name: bool) -> Place {
        let (mut here, mut place, mut rest) = (self, self.place, path);
        while !rest.is_empty() {
            let Some((name, next, after)) = here.step(rest) else {
                break;
            };
            let named = name.filter(|name| {
                next.place.line > name.line || (on_name && after.trim_matches('.').is_empty())
            });
            (here, place, rest) = (next, named.unwrap_or(next.place), after);
        }
        place
    }

    /// One step along a path: the place of the entry's name, its value and what is left of the path.
    fn step<'t, 'p>(&'t self, path: &'p str) -> Option<(Option<Place>, &'t Self, &'p str)> {
        match &self.node {
            Node::Scalar(_) => None,
            Node::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                Some((None, items.get(index.parse::<usize>().ok()?)?, rest))
            }
            Node::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                // Names may hold dots themselves, so the longest that fits is meant.
                let fits = |entry: &&Entry| {
                    path.strip_prefix(entry.name.as_str()).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')
                    })
                };
                let entry = entries
                    .iter()
                    .filter(fits)
                    .max_by_key(|entry| entry.name.len())?;
                Some((Some(entry.place), &entry.value, &path[entry.name.len()..]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Place {
        Place { line, column }
    }

    fn scalar(line: u32, column: u32) -> Tree {
        let node = Node::Scalar(Scalar {
            text: "x".to_owned(),
            plain: true,
        });
        Tree {
            place: at(line, column),
            node,
        }
    }

    fn entry(name: &str, line: u32, column: u32, value: Tree) -> Entry {
        Entry {
            name: name.to_owned(),
            place: at(line, column),
            value,
        }
    }

    #[test]
    fn a_path_finds_its_place_or_that_of_what_encloses_it() {
        let labels = Tree {
            place: at(3, 5),
            node: Node::Map(vec![entry("a.b/c", 3, 5, scalar(3, 12))]),
        };
        let list = Tree {
            place: at(2, 1),
            node: Node::List(vec![Tree {
                place: at(2, 3),
                node: Node::Map(vec![entry("labels", 2, 3, labels)]),
            }]),
        };
        let root = Tree {
            place: at(1, 1),
            node: Node::Map(vec![entry("items", 1, 1, list)]),
        };
        for (path, on_name, expected) in [
            ("", false, at(1, 1)),
            ("items", false, at(1, 1)),
            ("items[0]", false, at(2, 3)),
            ("items[0].labels", false, at(2, 3)),
            ("items[0].labels.a.b/c", false, at(3, 12)),
            ("items[0].labels.a.b/c", true, at(3, 5)),
            ("items[0].missing", false, at(2, 3)),
            ("items[7]", false, at(1, 1)),
        ] {
            assert_eq!(root.place_of(path, on_name), expected, "{path}");
        }
    }
}
