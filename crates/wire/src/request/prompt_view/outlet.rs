//! Where the bytes of a view go: small parts collected, large ones passed on where they lie.

use std::ops::ControlFlow;

use pointsman_core::model::assets::AssetRules;
use pointsman_core::model::prompt::Piece;

use crate::json::fault::JsonFault;

/// Whether the receiver wants more.
pub(crate) type Flow = ControlFlow<()>;

/// Takes the bytes of string contents: runs that stand in the body, and characters that stood as escapes.
pub(crate) trait Sink {
    /// The next bytes of the text; whole characters, unless the body was cut within one.
    fn run(&mut self, bytes: &[u8]) -> Flow;

    /// A character that the body writes as an escape.
    fn scalar(&mut self, character: char) -> Flow {
        self.run(character.encode_utf8(&mut [0; 4]).as_bytes())
    }
}

/// Parts up to this length are collected; longer ones are handed over as they lie.
const SMALL: usize = 128;

/// The receiver of a walk.
pub(crate) struct Outlet<'t> {
    take: &'t mut dyn FnMut(Piece<'_>) -> Flow,
    /// Parts that were too small to be handed over by themselves.
    collected: [u8; 4 * SMALL],
    filled: usize,
    /// Bytes of the current prompt so far.
    written: usize,
    /// Images, videos and recordings so far.
    assets: u32,
    /// What they count for.
    pub(crate) rules: AssetRules,
}

impl<'t> Outlet<'t> {
    pub(crate) fn new(take: &'t mut dyn FnMut(Piece<'_>) -> Flow) -> Self {
        Self {
            take,
            collected: [0; 4 * SMALL],
            filled: 0,
            written: 0,
            assets: 0,
            rules: AssetRules::default(),
        }
    }

    /// An image, a video or a recording is about to be written.
    pub(crate) fn asset(&mut self) {
        self.assets += 1;
    }

    /// Whether there was one.
    pub(crate) const fn has_assets(&self) -> bool {
        self.assets > 0
    }

    /// Bytes of the current prompt so far.
    pub(crate) const fn written(&self) -> usize {
        self.written
    }

    /// Ends the current prompt.
    pub(crate) fn end(&mut self) -> Flow {
        self.flush()?;
        self.written = 0;
        (self.take)(Piece::End)
    }

    fn flush(&mut self) -> Flow {
        let filled = std::mem::take(&mut self.filled);
        if filled == 0 {
            return Flow::Continue(());
        }
        (self.take)(Piece::Bytes(&self.collected[..filled]))
    }
}

impl Sink for Outlet<'_> {
    #[inline]
    fn run(&mut self, bytes: &[u8]) -> Flow {
        self.written += bytes.len();
        if bytes.len() > SMALL {
            self.flush()?;
            return (self.take)(Piece::Bytes(bytes));
        }
        if self.filled + bytes.len() > self.collected.len() {
            self.flush()?;
        }
        self.collected[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        Flow::Continue(())
    }
}

/// What was read of a body that is known to be valid; other frames than those it was read from end the walk.
pub(crate) fn valid<T>(read: Result<T, JsonFault>) -> ControlFlow<(), T> {
    match read {
        Ok(value) => ControlFlow::Continue(value),
        Err(_) => ControlFlow::Break(()),
    }
}
