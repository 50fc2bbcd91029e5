//! How bodies are passed, as the gateway's first message says.

use crate::extproc::messages::ProtocolConfiguration;

/// How the bodies of one direction are passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BodyMode {
    /// Not at all.
    None,
    /// Piece by piece, each answered before the next one is released; heads are released before bodies.
    Streamed,
    /// In one piece, after the head was answered; up to a bound when it may be partial.
    Buffered {
        /// Whether the piece may be only the beginning.
        partial: bool,
    },
    /// Piece by piece; whatever is sent on comes from the picker, when it likes.
    #[default]
    FullDuplex,
}

/// The modes of both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Modes {
    /// The client's body.
    pub request: BodyMode,
    /// The answer's.
    pub response: BodyMode,
}

impl Modes {
    /// What the first message says. Gateways that say nothing pass everything piece by piece; a configuration that does
    /// not name a mode means none, the first of the list.
    pub fn of(config: Option<&ProtocolConfiguration>) -> Self {
        config.map_or_else(Self::default, |config| Self {
            request: BodyMode::numbered(config.request_body_mode),
            response: BodyMode::numbered(config.response_body_mode),
        })
    }
}

impl BodyMode {
    /// By the number on the wire. One that is not known yet is taken for the mode that all newer ones resemble.
    fn numbered(number: i32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Streamed,
            2 => Self::Buffered { partial: false },
            3 => Self::Buffered { partial: true },
            _ => Self::FullDuplex,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_meaning() {
        assert_eq!(Modes::of(None).request, BodyMode::FullDuplex);
        let silent = ProtocolConfiguration::default();
        assert_eq!(Modes::of(Some(&silent)).request, BodyMode::None);
        let mixed = ProtocolConfiguration {
            request_body_mode: 2,
            response_body_mode: 1,
        };
        assert_eq!(
            Modes::of(Some(&mixed)),
            Modes {
                request: BodyMode::Buffered { partial: false },
                response: BodyMode::Streamed,
            }
        );
    }
}
