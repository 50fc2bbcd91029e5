//! One exchange of a gateway as the picker hears of it: messages in, answers out, no IO.
//!
//! ```text
//!  New ──head──► Collecting ──end of body, or trailers──► Answered       the request
//!   │                 │                                      ▲
//!   └─ head that ends, or is all that comes (NONE, STREAMED) ┘
//!  head ──► body* ──► end, or trailers                                   the answer
//! ```
//! Where requests have to be let in, or a server knows their token ids, a decision may have to wait: [`Conversation::waiting`] resolves then, and
//! [`Conversation::answered`] goes on. No message is taken in meanwhile.
//!
//! It lives the life of every request ([`Exchange`]); dropped before the end, the client has left. What the gateway
//! says twice, or out of order, changes nothing that has been decided.

mod answering;
mod reading;

use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pointsman_core::admission::permits::Permit;
use pointsman_core::model::headers::Headers;
use pointsman_core::model::reject::Reject;
use pointsman_http::Frames;
use pointsman_wire::extproc::answer::{Part, REQUEST_BODY, Route, go_on, refusal};
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::head::RequestHead;
use pointsman_wire::extproc::hint::{Served, Subset};
use pointsman_wire::extproc::messages::{
    HttpBody, HttpHeaders, Metadata, ProcessingRequest, Request,
};
use pointsman_wire::extproc::mode::{BodyMode, Modes};
use pointsman_wire::request::vllm_grpc::Call;
use pointsman_wire::status::{PickerRefusal, openai_error, reference_error};

use crate::door::extproc::reply::{Reply, joined, send_on};
use crate::door::extproc::routing::to;
use crate::door::extproc::settings::{ErrorFormat, Settings};
use crate::door::headers::valid_request_id;
use crate::door::render::Rendered;
use crate::exchange::Exchange;
use crate::handoff::unique::Unique;
use crate::router::Lane;

/// The door's name in receipts and logs.
const DOOR: &str = "ext_proc";

/// What follows from a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// The next message may come.
    GoOn,
    /// The stream ends well.
    Close,
}

/// What a request waits for.
pub enum Answer {
    /// Whether it is let in.
    Admission(Result<Permit, Reject>),
    /// Its prompt as token ids, if they could be had.
    Tokens(Option<Rendered>),
}

/// A question that is not answered yet.
pub type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Where the request stands.
#[derive(Default)]
#[allow(clippy::large_enum_variant)] // one per stream, and a box would be one more allocation for each
enum Asking {
    #[default]
    New,
    Collecting {
        head: RequestHead,
        frames: Frames,
    },
    /// Whole, and waiting for an [`Answer`].
    Waiting {
        head: RequestHead,
        frames: Frames,
        extent: Extent,
        mode: BodyMode,
    },
    Answered,
}

/// What a decision means for the request.
struct Decided {
    route: Route,
    /// The body that takes the place of the client's.
    changed: Option<Vec<Bytes>>,
    /// Whether the answer is not looked at.
    aside: bool,
}

/// How much of a body there is when it is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Trailers follow, so no piece is the last.
    BeforeTrailers,
    /// The gateway gave only the beginning.
    Beginning,
    /// The gateway does not give it.
    Unread,
}

/// A conversation about one exchange.
pub struct Conversation {
    lane: Arc<Lane>,
    settings: Arc<Settings>,
    modes: Option<Modes>,
    subset: Option<Subset>,
    served: Served,
    asking: Asking,
    exchange: Option<Exchange>,
    /// The question that the request waits for.
    waiting: Option<Question>,
    /// Whether it has asked to be let in.
    arrived: bool,
    /// The prompt's token ids from a server, once one has been asked.
    rendered: Option<Option<Rendered>>,
    /// The call over gRPC that the request is.
    call: Option<Call>,
    /// The model that rules put in place of the one named, once they have been asked.
    decreed: Option<Option<String>>,
    /// What plugins put on the client's answer.
    marks: Vec<(String, String)>,
    /// The request's place in a trace, for the endpoint.
    traceparent: Option<String>,
    /// An id that the request did not have, for the client's answer.
    given_id: Option<String>,
    streamed: bool,
    /// The engine's and the client's name of the model, where they differ.
    names: Option<(String, String)>,
    reply: Option<Reply>,
}

impl Conversation {
    /// One that has just been opened.
    pub fn new(lane: Arc<Lane>, settings: Arc<Settings>) -> Self {
        Self {
            lane,
            settings,
            modes: None,
            subset: None,
            served: Served::default(),
            asking: Asking::New,
            exchange: None,
            waiting: None,
            arrived: false,
            rendered: None,
            call: None,
            decreed: None,
            marks: Vec::new(),
            traceparent: None,
            given_id: None,
            streamed: false,
            names: None,
            reply: None,
        }
    }

    /// The exchange under way, if there is one.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref()
    }

    /// Takes a message in; answers go to `out`.
    pub fn take(&mut self, message: ProcessingRequest, out: &mut Outbox) -> Turn {
        let modes = *self
            .modes
            .get_or_insert_with(|| Modes::of(message.protocol_config.as_ref()));
        if let Some(metadata) = &message.metadata_context {
            let head = matches!(message.request, Some(Request::RequestHeaders(_)));
            // A hint is for the decision; gateways repeat it with every message.
            let undecided = head || !matches!(self.asking, Asking::Answered);
            self.note(metadata, undecided);
        }
        match message.request {
            None => Turn::GoOn,
            Some(Request::RequestHeaders(head)) => self.request_head(head, modes.request, out),
            Some(Request::RequestBody(piece)) => self.request_body(piece, modes.request, out),
            Some(Request::RequestTrailers(_)) => self.request_trailers(modes.request, out),
            Some(Request::ResponseHeaders(head)) => {
                self.response_head(&head, modes.response, out);
                Turn::GoOn
            }
            Some(Request::ResponseBody(piece)) => {
                self.response_body(piece, modes.response, out);
                Turn::GoOn
            }
            Some(Request::ResponseTrailers(_)) => {
                self.response_trailers(out);
                Turn::GoOn
            }
        }
    }

    /// The question that is to be answered before anything else is taken in.
    pub fn waiting(&mut self) -> Option<&mut Question> {
        self.waiting.as_mut()
    }

    /// Goes on with the answer to [`Conversation::waiting`].
    pub fn answered(&mut self, answer: Answer, out: &mut Outbox) -> Turn {
        self.waiting = None;
        let Asking::Waiting {
            head,
            frames,
            extent,
            mode,
        } = take(&mut self.asking)
        else {
            return Turn::GoOn;
        };
        match (answer, &mut self.exchange) {
            (Answer::Tokens(tokens), _) => self.rendered = Some(tokens),
            (Answer::Admission(Ok(permit)), Some(exchange)) => exchange.admitted(permit),
            (Answer::Admission(Err(reject)), _) => return self.refuse(&reject, out),
            (Answer::Admission(Ok(_)), None) => return Turn::Close,
        }
        self.decide(head, frames, extent, mode, out)
    }

    /// Ready when the request has to give way to one of a higher priority: then [`Conversation::give_way`].
    pub fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.exchange {
            Some(exchange) => exchange.poll_evicted(cx),
            None => Poll::Pending,
        }
    }

    /// The request gives way. The gateway is told to answer so; where the client has seen the head of an answer, it
    /// breaks that off.
    pub fn give_way(&mut self, out: &mut Outbox) {
        self.asking = Asking::Answered;
        if let Some(mut exchange) = self.exchange.take() {
            let refused = self.refusal(&exchange, &Reject::Evicted);
            exchange.give_way(refused.status);
            out.message(&refusal(refused));
        }
    }

    fn refusal(&self, exchange: &Exchange, reject: &Reject) -> PickerRefusal {
        match self.settings.error_format {
            ErrorFormat::Reference => reference_error(reject, exchange.plan().compat),
            ErrorFormat::OpenAi => openai_error(reject, None).into(),
        }
    }

    fn note(&mut self, metadata: &Metadata, undecided: bool) {
        if metadata.filter_metadata.is_empty() {
            return;
        }
        self.served.note(metadata);
        if undecided
            && self.settings.subset_hint
            && let Some(subset) = Subset::of(metadata)
        {
            self.subset = Some(subset);
        }
    }

    fn request_head(&mut self, head: HttpHeaders, mode: BodyMode, out: &mut Outbox) -> Turn {
        // A second head begins a new exchange; the one before has lost its client.
        self.exchange = None;
        self.reply = None;
        self.names = None;
        self.waiting = None;
        self.arrived = false;
        self.rendered = None;
        self.decreed = None;
        self.call = None;
        self.marks = Vec::new();
        let read = RequestHead::of(head.headers);
        self.begin(&read);
        if head.end_of_stream {
            return self.pick_any(read, out);
        }
        match mode {
            BodyMode::None | BodyMode::Streamed => {
                self.decide(read, Frames::default(), Extent::Unread, mode, out)
            }
            BodyMode::Buffered { .. } | BodyMode::FullDuplex => {
                self.asking = Asking::Collecting {
                    head: read,
                    frames: Frames::default(),
                };
                if mode != BodyMode::FullDuplex {
                    out.message(&go_on(Part::RequestHeaders));
                }
                Turn::GoOn
            }
        }
    }

    /// Begins the exchange under the request's id, or one that is given to it.
    fn begin(&mut self, head: &RequestHead) {
        let id = head
            .request_id
            .as_ref()
            .and_then(|id| valid_request_id(id))
            .map(str::to_owned);
        self.given_id = match id {
            Some(_) => None,
            None => Some(Unique::draw(&mut self.lane.scratch.lock().rng).dashed()),
        };
        let id = id.as_deref().or(self.given_id.as_deref());
        let mut exchange = Exchange::begin(&self.lane, DOOR, id.unwrap_or_default(), &head.path());
        self.traceparent = exchange.trace(Headers::of(head));
        self.exchange = Some(exchange);
    }

    fn request_body(&mut self, piece: HttpBody, mode: BodyMode, out: &mut Outbox) -> Turn {
        let duplex = mode == BodyMode::FullDuplex;
        if !duplex && !matches!(mode, BodyMode::Buffered { .. }) {
            out.message(&go_on(Part::RequestBody));
            return Turn::GoOn;
        }
        if matches!(self.asking, Asking::New) {
            // A body without a head is legal.
            let head = RequestHead::default();
            self.begin(&head);
            self.asking = Asking::Collecting {
                head,
                frames: Frames::default(),
            };
        }
        let Asking::Collecting { frames, .. } = &mut self.asking else {
            if !duplex {
                out.message(&go_on(Part::RequestBody));
            }
            return Turn::GoOn;
        };
        frames.push(piece.body);
        let limit = self.settings.max_body;
        if frames.len() > limit {
            return self.refuse(&Reject::BodyTooLarge { limit }, out);
        }
        match mode {
            BodyMode::Buffered { partial } if partial && !piece.end_of_stream => {
                self.decide_collected(Extent::Beginning, mode, out)
            }
            // A body in one piece is whole, also when trailers follow it.
            BodyMode::Buffered { .. } => self.decide_collected(Extent::Whole, mode, out),
            _ if piece.end_of_stream => self.decide_collected(Extent::Whole, mode, out),
            _ => Turn::GoOn,
        }
    }

    fn request_trailers(&mut self, mode: BodyMode, out: &mut Outbox) -> Turn {
        if mode == BodyMode::FullDuplex && !matches!(self.asking, Asking::Answered) {
            if matches!(self.asking, Asking::New) {
                let head = RequestHead::default();
                self.begin(&head);
                self.asking = Asking::Collecting {
                    head,
                    frames: Frames::default(),
                };
            }
            // What answers the body answers the trailers after it, at once or when the request has been let in.
            return self.decide_collected(Extent::BeforeTrailers, mode, out);
        }
        out.message(&go_on(Part::RequestTrailers));
        Turn::GoOn
    }

    /// A request without a body goes to any endpoint, and does not count in flight.
    fn pick_any(&mut self, head: RequestHead, out: &mut Outbox) -> Turn {
        let Some(exchange) = &mut self.exchange else {
            return Turn::GoOn;
        };
        if exchange.snapshot().is_empty() {
            let reject = Reject::Internal("no pods available in datastore".to_owned());
            return self.refuse(&reject, out);
        }
        if let Some(subset) = &self.subset {
            exchange.narrow(|endpoint| subset.allows(endpoint.address));
        }
        let (plan, snapshot) = (Arc::clone(exchange.plan()), Arc::clone(exchange.snapshot()));
        if snapshot.is_empty() {
            return self.refuse(&Reject::NoEndpoints, out);
        }
        let row = self.lane.scratch.lock().rng.below(snapshot.len());
        exchange.unscheduled();
        self.exchange = None;
        self.asking = Asking::Answered;
        let route = Route {
            request_id: self.given_id.clone(),
            traceparent: self.traceparent.clone(),
            unwanted: head.unwanted,
            ..to(&plan, &snapshot.endpoints[row])
        };
        out.message(&route.as_head());
        Turn::GoOn
    }

    /// The request stands as whole as it will.
    fn decide_collected(&mut self, extent: Extent, mode: BodyMode, out: &mut Outbox) -> Turn {
        match take(&mut self.asking) {
            Asking::Collecting { head, frames } => self.decide(head, frames, extent, mode, out),
            other => {
                self.asking = other;
                Turn::GoOn
            }
        }
    }

    /// Decides, and answers; or waits to be let in.
    fn decide(
        &mut self,
        head: RequestHead,
        frames: Frames,
        extent: Extent,
        mode: BodyMode,
        out: &mut Outbox,
    ) -> Turn {
        self.asking = Asking::Answered;
        let decided = match self.look_into(&head, &frames, extent) {
            Ok(Some(decided)) => decided,
            Ok(None) => {
                self.asking = Asking::Waiting {
                    head,
                    frames,
                    extent,
                    mode,
                };
                return Turn::GoOn;
            }
            Err(reject) => return self.refuse(&reject, out),
        };
        let Decided {
            mut route,
            changed,
            aside,
        } = decided;
        if extent == Extent::Unread {
            out.message(&route.as_head());
            return Turn::GoOn;
        }
        let (body, length) = match &changed {
            Some(changed) => (&changed[..], changed.iter().map(Bytes::len).sum()),
            None => (frames.as_slice(), frames.len()),
        };
        route.content_length = (length > 0).then_some(length);
        if mode == BodyMode::FullDuplex {
            out.message(&route.as_head());
            send_on(REQUEST_BODY, body, extent == Extent::Whole, out);
            if extent == Extent::BeforeTrailers {
                out.message(&go_on(Part::RequestTrailers));
            }
        } else {
            if changed.is_none() {
                route.content_length = None;
            }
            let changed = changed.as_deref().map(joined);
            out.message(&route.as_body(changed));
        }
        if aside {
            // The answer passes the picker by, so for it the exchange is over.
            if let Some(mut exchange) = self.exchange.take() {
                exchange.head(200);
                exchange.end(None, None);
            }
            return Turn::Close;
        }
        Turn::GoOn
    }

    /// The talk ends in an error, for the gateway said what cannot be understood.
    pub fn give_up(&mut self, reject: &Reject) {
        if let Some(mut exchange) = self.exchange.take() {
            let refused = reference_error(reject, exchange.plan().compat);
            exchange.give_up(reject, refused.status);
        }
    }

    fn refuse(&mut self, reject: &Reject, out: &mut Outbox) -> Turn {
        self.asking = Asking::Answered;
        let Some(mut exchange) = self.exchange.take() else {
            return Turn::Close;
        };
        let refused = self.refusal(&exchange, reject);
        exchange.refuse(reject.clone());
        exchange.rejected(reject, refused.status);
        out.message(&refusal(refused));
        Turn::Close
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Where the answer's body is not passed, the end of the talk is all that is heard of its end.
        if self.reply.as_ref().is_some_and(Reply::is_unheard) {
            self.ended();
        }
    }
}
