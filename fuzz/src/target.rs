//! What a target is.

/// A parser, or a few that read the same kind of bytes, and what must hold of them.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name on the command line, and of the folder of its corpus.
    pub name: &'static str,
    /// What is read, in a few words.
    pub what: &'static str,
    /// Takes any bytes and panics where something that must hold does not. Returns the shape of the run
    /// ([`crate::shape::Shape`]): inputs whose shape is new are worth keeping.
    pub run: fn(&[u8]) -> u64,
    /// Words of the format, which chance would hardly find.
    pub words: &'static [&'static str],
    /// Folders of inputs besides the target's own, from the root of the workspace.
    pub also: &'static [&'static str],
}
