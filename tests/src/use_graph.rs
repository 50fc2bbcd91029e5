//! Which file of a crate uses which, read from its paths (`crate::`, `self::`, `super::`), and circles in that.
//!
//! Files are named as module paths; the crate's root is "". Test modules, comments and strings are left out.
//! Not a parser: macros that build paths are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which file uses which others.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graph of the files below a crate's source folder.
///
/// # Panics
/// When one cannot be read.
pub fn uses(root: &Path, files: &[PathBuf]) -> Graph {
    let modules: BTreeMap<String, &PathBuf> = files
        .iter()
        .map(|file| (module(root, file), file))
        .collect();
    let known: BTreeSet<String> = modules.keys().cloned().collect();
    modules
        .iter()
        .map(|(module, file)| (module.clone(), targets(module, &read(file), &known)))
        .collect()
}

/// `src/a/b.rs` -> `a::b`; `src/a/mod.rs` -> `a`; `src/lib.rs` and `src/main.rs` -> "".
fn module(root: &Path, file: &Path) -> String {
    let path = file
        .strip_prefix(root)
        .expect("the files lie below the root")
        .with_extension("");
    let mut parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts.join("::")
}

/// The files named by the paths in the text, those of its test module left out.
pub fn targets(module: &str, text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let code = without_tests(&without_comments_and_strings(text));
    let mut found = BTreeSet::new();
    let mut add = |path: &[String]| {
        // The longest prefix that is a file; a crate's root only declares, so it is nobody's target.
        let file = (1..=path.len())
            .rev()
            .map(|n| path[..n].join("::"))
            .find(|path| known.contains(path));
        if let Some(file) = file.filter(|file| file != module) {
            found.insert(file);
        }
    };
    let own: Vec<String> = module
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    for (word, base) in [
        ("crate::", Vec::new()),
        ("self::", own.clone()),
        ("super::", own[..own.len().saturating_sub(1)].to_vec()),
    ] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                expand(&base, &code[at + word.len()..], &mut add);
            }
        }
    }
    found
}

/// Reads one path, or a tree of paths in braces, and hands out each; returns what follows.
fn expand<'a>(base: &[String], text: &'a str, add: &mut impl FnMut(&[String])) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(inner) = rest.strip_prefix('{') {
            let mut inner = inner;
            loop {
                inner = inner.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                match inner.strip_prefix('}') {
                    Some(after) => return after,
                    None if inner.is_empty() => return inner,
                    None => {
                        let after = expand(&path, inner, add);
                        // Whatever is no path (a glob, an alias) is skipped up to the next comma or brace.
                        let skip = after.find([',', '}']).unwrap_or(after.len());
                        inner = &after[skip..];
                    }
                }
            }
        }
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if !name.is_empty() && name != "self" {
            path.push(name.to_owned());
        }
        match after.strip_prefix("::") {
            Some(after) if !name.is_empty() => rest = after.trim_start(),
            _ => {
                add(&path);
                return after;
            }
        }
    }
}

/// Blanks comments, strings and character literals.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..]
                .find(&close)
                .map_or(rest.len(), |end| open + end + close.len())
        } else if rest.starts_with('"') {
            string_end(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            0
        };
        if length == 0 {
            let c = rest.chars().next().expect("the text goes on");
            code.push(c);
            at += c.len_utf8();
        } else {
            code.push(' ');
            at += length;
        }
    }
    code
}

/// For text that begins with a raw string, the number of its hashes.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of the string literal that the text begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Cuts out each block behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest
        .find("#[cfg(test)]")
        .or_else(|| rest.find("#[cfg(all(test"))
    {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let semicolon = item.find(';').unwrap_or(item.len());
        rest = match item.find('{').filter(|open| *open < semicolon) {
            Some(open) => &item[block_end(item, open)..],
            None => &item[semicolon..],
        };
    }
    kept.push_str(rest);
    kept
}

/// Where the block that opens at `open` ends.
fn block_end(text: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Some cycle of the graph, its first node repeated at the end.
pub fn cycle(graph: &Graph) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        graph: &Graph,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|earlier| earlier == node) {
            let mut cycle = path[start..].to_vec();
            cycle.push(node.to_owned());
            return Some(cycle);
        }
        if done.contains(node) {
            return None;
        }
        path.push(node.to_owned());
        for next in graph.get(node).into_iter().flatten() {
            if let Some(cycle) = visit(next, graph, path, done) {
                return Some(cycle);
            }
        }
        path.pop();
        done.insert(node.to_owned());
        None
    }
    let mut done = BTreeSet::new();
    graph
        .keys()
        .find_map(|node| visit(node, graph, &mut Vec::new(), &mut done))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::use_graph::{Graph, cycle, targets};

    #[test]
    fn the_cycle_finder_finds_cycles() {
        #[track_caller]
        fn check(files: &[(&str, &str)], expected: Option<&[&str]>) {
            let graph: Graph = {
                let known: BTreeSet<String> = files
                    .iter()
                    .map(|(module, _)| (*module).to_owned())
                    .collect();
                files
                    .iter()
                    .map(|(module, text)| ((*module).to_owned(), targets(module, text, &known)))
                    .collect()
            };
            let found = cycle(&graph);
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|cycle| cycle.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{graph:?}");
        }
        check(
            &[
                ("", "pub mod a;"),
                ("a", "use crate::b::B;"),
                ("b", "use std::fmt;"),
            ],
            None,
        );
        check(
            &[("a", "use crate::b::B;"), ("b", "use crate::a::A;")],
            Some(&["a", "b", "a"]),
        );
        check(
            &[
                ("a", "use crate::{b::B, c};"),
                ("b", ""),
                ("c", "fn f() -> crate::a::A {}"),
            ],
            Some(&["a", "c", "a"]),
        );
        check(
            &[
                ("a", "use crate::b::{self, deep::D};"),
                ("b", "pub mod deep;"),
                ("b::deep", "use crate::a::A;"),
            ],
            Some(&["a", "b::deep", "a"]),
        );
        check(
            &[
                ("a", "// crate::b::B\n\"crate::b\";"),
                ("b", "use crate::a::A;"),
            ],
            None,
        );
        check(
            &[
                ("a", "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n"),
                ("b", "use crate::a::A;"),
            ],
            None,
        );
        check(
            &[("a", "use super::b::B;"), ("b", "use super::a::A;")],
            Some(&["a", "b", "a"]),
        );
        check(
            &[
                ("a", "use crate::b::B;"),
                ("b", "pub use self::c::C; mod c;"),
                ("b::c", "use crate::a::A;"),
            ],
            Some(&["a", "b", "b::c", "a"]),
        );
    }
}
