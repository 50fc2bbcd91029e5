//! A gRPC stream of the picker: the gateway's messages are taken from the request as they come, the answers are the body of
//! the response.
//!
//! Nothing is read while an answer waits to be sent, so a gateway that does not read holds up only its own stream. A stream
//! that is dropped takes its exchange with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use hyper::body::Incoming;
use pointsman_core::model::reject::Reject;
use pointsman_core::time::Tick;
use pointsman_http::BodyError;
use pointsman_wire::extproc::frame_fault::Code;
use pointsman_wire::extproc::grpc::{Deframer, Outbox};
use pointsman_wire::extproc::messages::{ProcessingRequest, Request};
use prost::Message;

use crate::door::extproc::conversation::{Conversation, Turn};
use crate::door::extproc::settings::Settings;
use crate::router::Lane;

/// One stream.
pub struct Stream {
    incoming: Option<Incoming>,
    deframer: Deframer,
    conversation: Option<Conversation>,
    out: Outbox,
    /// A log line that is to be written before the answers go on.
    logging: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// How the stream ends, once that is known.
    end: Option<(Code, String)>,
    over: bool,
    settings: Arc<Settings>,
    lane: Arc<Lane>,
    opened: Tick,
    /// The code that it ended with.
    code: Option<Code>,
}

impl Stream {
    /// A conversation on this lane with the sender of `incoming`, which may compress its messages where it announced `gzip`.
    pub fn new(incoming: Incoming, gzip: bool, lane: Arc<Lane>, settings: Arc<Settings>) -> Self {
        settings.opened();
        if settings.stream_metrics {
            lane.cells.streams.opened.add(1);
        }
        let conversation = Conversation::new(Arc::clone(&lane), Arc::clone(&settings));
        Self {
            opened: lane.router.clock.now(),
            code: None,
            lane,
            incoming: Some(incoming),
            deframer: Deframer::new(settings.max_message, gzip),
            conversation: Some(conversation),
            out: Outbox::default(),
            logging: None,
            end: None,
            over: false,
            settings,
        }
    }

    /// Takes in the messages that stand whole in what has come.
    fn talk(&mut self) {
        while self.end.is_none() {
            // What comes after a request that waits is looked at when it has been let in.
            let waits = |conversation: &mut Conversation| conversation.waiting().is_some();
            if self.conversation.as_mut().is_some_and(waits) {
                return;
            }
            let message = match self.deframer.take() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(fault) => {
                    let limit = self.settings.max_message;
                    let too_large = fault.code() == Code::ResourceExhausted;
                    let reject = too_large.then_some(Reject::BodyTooLarge { limit });
                    return self.break_off(fault.code(), fault.to_string(), reject);
                }
            };
            let Some(conversation) = &mut self.conversation else {
                return;
            };
            let message = match ProcessingRequest::decode(message) {
                Ok(message) => message,
                Err(fault) => return self.break_off(Code::Internal, fault.to_string(), None),
            };
            if matches!(message.request, Some(Request::ResponseHeaders(_))) {
                // The client must not see the end of its answer before the log has the decision.
                self.logging = conversation.exchange().and_then(|e| e.logging());
            }
            match conversation.take(message, &mut self.out) {
                Turn::GoOn => {}
                Turn::Close => self.finish(Code::Ok, String::new()),
            }
        }
    }

    /// What came is no conversation, so the stream ends in an error; it is our end, and not one of the client.
    fn break_off(&mut self, code: Code, why: String, reject: Option<Reject>) {
        if let Some(conversation) = &mut self.conversation {
            let reject = reject.unwrap_or_else(|| Reject::Malformed(why.clone()));
            conversation.give_up(&reject);
        }
        self.finish(code, why);
    }

    /// What is in the outbox still goes out; then the stream ends.
    fn finish(&mut self, code: Code, why: String) {
        self.code = Some(code);
        self.end = Some((code, why));
        self.conversation = None;
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if let Some(logging) = &mut this.logging {
                ready!(logging.as_mut().poll(cx));
                this.logging = None;
            }
            if let Some(piece) = this.out.take() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.over {
                return Poll::Ready(None);
            }
            if let Some((code, why)) = this.end.take() {
                this.over = true;
                // Whatever is still being sent is not wanted any more.
                this.incoming = None;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers(code, &why)))));
            }
            if let Some(waiting) = this.conversation.as_mut().and_then(Conversation::waiting) {
                let answer = ready!(waiting.as_mut().poll(cx));
                let conversation = this.conversation.as_mut();
                match conversation.map(|c| c.answered(answer, &mut this.out)) {
                    Some(Turn::Close) => this.finish(Code::Ok, String::new()),
                    Some(Turn::GoOn) | None => this.talk(),
                }
                continue;
            }
            if let Some(conversation) = &mut this.conversation
                && conversation.poll_evicted(cx).is_ready()
            {
                conversation.give_way(&mut this.out);
                this.finish(Code::Ok, String::new());
                continue;
            }
            let Some(incoming) = &mut this.incoming else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.deframer.feed(data);
                        this.talk();
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Peer(error)))),
                // The gateway has said all it will.
                None if this.deframer.is_amid() => {
                    let why = "the stream ended amid a message".to_owned();
                    this.break_off(Code::Internal, why, None);
                }
                None => this.finish(Code::Ok, String::new()),
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.settings.closed();
        if self.settings.stream_metrics {
            let router = &self.lane.router;
            let took = router.clock.now().since(self.opened);
            let streams = &self.lane.cells.streams;
            streams.end(self.code, took.as_secs_f64());
        }
    }
}

/// The trailers that end a gRPC answer.
pub fn trailers(code: Code, why: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(code as u16));
    if let Ok(why) = HeaderValue::from_str(&percent_encoded(why))
        && !why.is_empty()
    {
        trailers.insert("grpc-message", why);
    }
    trailers
}

/// A message as gRPC wants it in a header: printable, with `%` and everything else as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_two_trailers() {
        assert_eq!(trailers(Code::Ok, "").len(), 1);
        let bad = trailers(Code::Internal, "50 % of ü\n");
        assert_eq!(bad["grpc-status"], "13");
        assert_eq!(bad["grpc-message"], "50 %25 of %C3%BC%0A");
    }
}
