//! The answer of an endpoint on its way through the picker: usage and id are seen, a model's name may change.

use std::mem::take;

use bytes::{Bytes, BytesMut};
use pointsman_wire::extproc::answer::{
    PIECE, Part, RESPONSE_BODY, go_on, response_body, response_piece,
};
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::head::ResponseHead;
use pointsman_wire::extproc::messages::{HttpBody, Struct};
use pointsman_wire::extproc::mode::BodyMode;
use pointsman_wire::extproc::rewrite::Renamer;
use pointsman_wire::reply::{ReplyFacts, ReplyScanner};
use pointsman_wire::request::vllm_grpc::Call;

/// One answer.
#[derive(Debug)]
pub struct Reply {
    mode: BodyMode,
    scanner: Option<ReplyScanner>,
    renamer: Option<Renamer>,
}

impl Reply {
    /// An answer with this head. `streamed` is whether the client asked for a stream, `names` the engine's and the client's name
    /// of the model where they differ.
    pub fn begin(
        head: &ResponseHead,
        mode: BodyMode,
        streamed: bool,
        names: Option<&(String, String)>,
    ) -> Self {
        let kind = match head.content_type() {
            "" if streamed => "text/event-stream",
            kind => kind,
        };
        // Where pieces were released with their length promised, a name of another length would break it.
        let renames = matches!(mode, BodyMode::FullDuplex | BodyMode::Buffered { .. });
        Self {
            mode,
            scanner: Some(ReplyScanner::new(kind)),
            renamer: names
                .filter(|_| renames)
                .map(|(engines, clients)| Renamer::new(engines, clients)),
        }
    }

    /// The answer of a call over gRPC.
    pub fn of_call(call: Call, mode: BodyMode) -> Self {
        Self {
            mode,
            scanner: Some(ReplyScanner::grpc(call)),
            renamer: None,
        }
    }

    /// Whether it is a stream of events.
    pub fn is_event_stream(&self) -> bool {
        self.scanner
            .as_ref()
            .is_some_and(ReplyScanner::is_event_stream)
    }

    /// Whether its body does not come by here.
    pub fn is_unheard(&self) -> bool {
        self.mode == BodyMode::None
    }

    /// Whether the length that the head promises may not hold.
    pub fn changes_length(&self) -> bool {
        self.renamer.is_some() && self.mode == BodyMode::FullDuplex
    }

    /// Looks at a piece.
    pub fn see(&mut self, body: &Bytes) {
        if let Some(scanner) = &mut self.scanner {
            scanner.chunk(body);
        }
    }

    /// Passes a piece on; `told` is what goes with it as metadata.
    pub fn pass(&mut self, piece: HttpBody, told: Option<Struct>, out: &mut Outbox) {
        let HttpBody {
            body,
            end_of_stream,
        } = piece;
        let mut answer = match (self.mode, &mut self.renamer) {
            (BodyMode::FullDuplex, None) => return pieces(&body, end_of_stream, told, out),
            (BodyMode::FullDuplex, Some(renamer)) => {
                let body = renamer.pass(body, end_of_stream);
                if !body.is_empty() || end_of_stream {
                    pieces(&body, end_of_stream, told, out);
                }
                return;
            }
            (BodyMode::Buffered { .. }, Some(renamer)) => {
                let renamed = renamer.pass(body.clone(), true);
                if renamed == body {
                    go_on(Part::ResponseBody)
                } else {
                    response_body(renamed)
                }
            }
            _ => go_on(Part::ResponseBody),
        };
        answer.dynamic_metadata = told;
        out.message(&answer);
    }

    /// Trailers end the answer: what was held back goes on.
    pub fn trailers(&mut self, out: &mut Outbox) {
        if let (BodyMode::FullDuplex, Some(renamer)) = (self.mode, &mut self.renamer) {
            let rest = renamer.pass(Bytes::new(), true);
            if !rest.is_empty() {
                pieces(&rest, false, None, out);
            }
        }
    }

    /// What was seen in it.
    pub fn finish(&mut self) -> ReplyFacts {
        self.scanner
            .take()
            .map_or_else(ReplyFacts::default, ReplyScanner::finish)
    }
}

fn pieces(body: &Bytes, end_of_stream: bool, told: Option<Struct>, out: &mut Outbox) {
    let mut rest = body.clone();
    while rest.len() > PIECE {
        out.piece(RESPONSE_BODY, &[rest.split_to(PIECE)], false);
    }
    match told {
        None => out.piece(RESPONSE_BODY, &[rest], end_of_stream),
        Some(told) => out.message(&response_piece(rest, end_of_stream, told)),
    }
}

/// Sends a request's body on, in pieces of [`PIECE`] bytes that are put together from its frames.
pub fn send_on(field: u8, frames: &[Bytes], end_of_stream: bool, out: &mut Outbox) {
    let (mut parts, mut room): (Vec<Bytes>, usize) = (Vec::new(), PIECE);
    for frame in frames {
        let mut rest = frame.clone();
        while !rest.is_empty() {
            if room == 0 {
                out.piece(field, &take(&mut parts), false);
                room = PIECE;
            }
            let taken = rest.split_to(rest.len().min(room));
            room -= taken.len();
            parts.push(taken);
        }
    }
    out.piece(field, &parts, end_of_stream);
}

/// All frames as one.
pub fn joined(frames: &[Bytes]) -> Bytes {
    match frames {
        [only] => only.clone(),
        several => {
            let size = several.iter().map(Bytes::len).sum();
            let mut joined = BytesMut::with_capacity(size);
            several
                .iter()
                .for_each(|frame| joined.extend_from_slice(frame));
            joined.freeze()
        }
    }
}
