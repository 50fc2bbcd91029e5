//! The answer's half of a conversation: its head, its pieces, its end.

use std::net::SocketAddr;
use std::sync::Arc;

use pointsman_wire::extproc::answer::{Part, go_on, response_head};
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::head::ResponseHead;
use pointsman_wire::extproc::messages::{HttpBody, HttpHeaders, Struct};
use pointsman_wire::extproc::mode::BodyMode;
use pointsman_wire::extproc::names::TEST_SERVED;

use super::Conversation;
use crate::door::extproc::reply::Reply;
use crate::door::extproc::routing::{destination, mark_again, reported};
use crate::exchange::Exchange;
use crate::handoff::timing;

impl Conversation {
    pub(super) fn response_head(&mut self, head: &HttpHeaders, mode: BodyMode, out: &mut Outbox) {
        let read = ResponseHead::read(head.headers.as_ref());
        if let Some(exchange) = &mut self.exchange {
            if let Some(served) = self.served.endpoint() {
                serve_by(exchange, served, &mut self.marks);
            }
            if exchange.plan().served_header {
                let told = (TEST_SERVED.to_owned(), self.served.words());
                self.marks.push(told);
            }
            exchange.head(read.status);
            exchange.prefilled(timing::told_in(read.timings.iter().map(|text| &text[..])));
        } else if read.status >= 400 && self.reply.is_none() {
            // An answer to a request that no decision was made for.
            self.lane.cells.failed_unasked();
        }
        let reply = self.reply_of(&read, mode);
        let id = self
            .exchange
            .as_ref()
            .map(|exchange| exchange.request_id())
            .or(self.given_id.as_deref());
        let id = id.filter(|id| read.request_id.as_deref() != Some(id.as_bytes()));
        let loses_length = read.has_length && reply.changes_length() && !head.end_of_stream;
        out.message(&response_head(id, loses_length, &self.marks));
        if let Some(exchange) = self.exchange.as_mut().filter(|_| reply.is_event_stream()) {
            exchange.streams();
        }
        self.reply = Some(reply);
        if head.end_of_stream {
            self.ended();
        }
    }

    fn reply_of(&self, head: &ResponseHead, mode: BodyMode) -> Reply {
        match self.call {
            Some(call) => Reply::of_call(call, mode),
            None => Reply::begin(head, mode, self.streamed, self.names.as_ref()),
        }
    }

    pub(super) fn response_body(&mut self, piece: HttpBody, mode: BodyMode, out: &mut Outbox) {
        if let Some(exchange) = &mut self.exchange {
            exchange.passed(piece.body.len());
        }
        // A body without a head passes as it is.
        let mut reply = match self.reply.take() {
            Some(reply) => reply,
            None => Reply::begin(&ResponseHead::default(), mode, false, None),
        };
        reply.see(&piece.body);
        // A buffered body comes in one piece, also when trailers follow that are not passed.
        let last = piece.end_of_stream || matches!(mode, BodyMode::Buffered { partial: false });
        self.reply = Some(reply);
        let told = if last { self.ended() } else { None };
        if let Some(reply) = &mut self.reply {
            reply.pass(piece, told, out);
        }
    }

    pub(super) fn response_trailers(&mut self, out: &mut Outbox) {
        if let Some(reply) = &mut self.reply {
            reply.trailers(out);
        }
        let mut answer = go_on(Part::ResponseTrailers);
        answer.dynamic_metadata = self.ended();
        out.message(&answer);
    }

    /// The answer came to its end: the endpoint is released. What plugins tell the gateway of it is given back.
    pub(super) fn ended(&mut self) -> Option<Struct> {
        let facts = self.reply.as_mut().map(Reply::finish).unwrap_or_default();
        let mut exchange = self.exchange.take()?;
        let told = facts
            .usage
            .and_then(|usage| reported(exchange.plan(), &usage));
        exchange.end(facts.usage, facts.id.as_deref());
        told
    }
}

/// The gateway says who served: if that is another one than the endpoint picked, it counts there from now on.
fn serve_by(exchange: &mut Exchange, served: SocketAddr, marks: &mut [(String, String)]) {
    let Some(picked) = exchange.row() else { return };
    let (plan, snapshot) = (Arc::clone(exchange.plan()), Arc::clone(exchange.snapshot()));
    let is_it = |row: usize| {
        let endpoint = &snapshot.endpoints[row];
        endpoint.address == served || destination(&plan, endpoint) == served.to_string()
    };
    if is_it(picked) {
        return;
    }
    if let Some(other) = (0..snapshot.len()).find(|&row| is_it(row)) {
        exchange.served_elsewhere(other);
        mark_again(&plan, &snapshot.endpoints[other], marks);
    }
}
