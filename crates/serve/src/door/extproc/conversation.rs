//! One exchange of a gateway as the picker hears of it: messages in, answers out, no IO.
//!
//! ```text
//!  New ──head──► Collecting ──end of body, or trailers──► Answered       the request
//!   │                 │                                      ▲
//!   └─ head that ends, or is all that comes (NONE, STREAMED) ┘
//!  head ──► body* ──► end, or trailers                                   the answer
//! ```
//! Where requests have to be let in, a decision may have to wait: [`Conversation::waiting`] resolves then, and
//! [`Conversation::let_in`] goes on. No message is taken in meanwhile.
//!
//! It lives the life of every request ([`Exchange`]); dropped before the end, the client has left. What the gateway
//! says twice, or out of order, changes nothing that has been decided.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use pointsman_core::admission::permits::Permit;
use pointsman_core::exchange::event::Effect;
use pointsman_core::model::headers::Headers;
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_http::Frames;
use pointsman_wire::extproc::answer::{Part, REQUEST_BODY, Route, go_on, refusal, response_head};
use pointsman_wire::extproc::body::{Claim, NO_MODEL, claim, read};
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::head::{RequestHead, ResponseHead};
use pointsman_wire::extproc::hint::{Subset, served};
use pointsman_wire::extproc::messages::{
    HttpBody, HttpHeaders, Metadata, ProcessingRequest, Request,
};
use pointsman_wire::extproc::mode::{BodyMode, Modes};
use pointsman_wire::extproc::rewrite::with_model;
use pointsman_wire::status::{PickerRefusal, openai_error, reference_error};

use crate::door::extproc::reply::{Reply, joined, send_on};
use crate::door::extproc::routing::{self, destination, route, to};
use crate::door::extproc::settings::{ErrorFormat, Settings};
use crate::door::headers::valid_request_id;
use crate::exchange::{self, Exchange};
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
    /// Whole, and waiting to be let in.
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
    served: Option<SocketAddr>,
    asking: Asking,
    exchange: Option<Exchange>,
    /// The question whether the request is let in.
    waiting: Option<exchange::Asking>,
    /// Whether it has been asked already.
    arrived: bool,
    /// The model that the cluster's rules put in place of the one named, once they have been asked.
    decreed: Option<Option<String>>,
    /// What plugins put on the client's answer.
    marks: Vec<(String, String)>,
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
            served: None,
            asking: Asking::New,
            exchange: None,
            waiting: None,
            arrived: false,
            decreed: None,
            marks: Vec::new(),
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
            self.note(metadata);
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
    pub fn waiting(&mut self) -> Option<&mut exchange::Asking> {
        self.waiting.as_mut()
    }

    /// Goes on with the answer to [`Conversation::waiting`].
    pub fn let_in(&mut self, answer: Result<Permit, Reject>, out: &mut Outbox) -> Turn {
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
            (Ok(permit), Some(exchange)) => exchange.admitted(permit),
            (Err(reject), _) => return self.refuse(&reject, out),
            (Ok(_), None) => return Turn::Close,
        }
        self.decide(head, frames, extent, mode, out)
    }

    fn note(&mut self, metadata: &Metadata) {
        if metadata.filter_metadata.is_empty() {
            return;
        }
        self.served = served(metadata).or(self.served);
        if self.settings.subset_hint
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
        let exchange = Exchange::begin(&self.lane, DOOR, id.unwrap_or_default(), &head.path());
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
            let turn = self.decide_collected(Extent::BeforeTrailers, mode, out);
            if turn != Turn::GoOn {
                return turn;
            }
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

    /// Reads the body and chooses; `None` where the request has to wait to be let in.
    fn look_into(
        &mut self,
        head: &RequestHead,
        frames: &Frames,
        extent: Extent,
    ) -> Result<Option<Decided>, Reject> {
        let Some(exchange) = &self.exchange else {
            return Err(Reject::Internal("no way on".to_owned()));
        };
        let plan = Arc::clone(exchange.plan());
        let unread = |route: Option<Route>, aside: bool| {
            route.map(|route| Decided {
                route,
                changed: None,
                aside,
            })
        };
        let bytes = frames.len();
        if extent == Extent::Unread {
            let route = self.choose(head, bytes, InferenceRequest::default())?;
            return Ok(unread(route, false));
        }
        let kind = match claim(&head.path(), &plan.parsers).map_err(Reject::Malformed)? {
            Claim::Read(kind) => kind,
            claim => {
                let route = self.choose(head, bytes, InferenceRequest::default())?;
                return Ok(unread(route, claim == Claim::Aside));
            }
        };
        let facts = match read(kind, frames.as_slice()) {
            Ok(facts) => facts,
            // The beginning of a body is no JSON; it goes where there is least to do.
            Err(_) if extent == Extent::Beginning => {
                let route = self.choose(head, bytes, InferenceRequest::default())?;
                return Ok(unread(route, false));
            }
            Err(why) => return Err(Reject::Malformed(why)),
        };
        let decreed = self.decreed(&facts.model);
        let model = decreed
            .as_deref()
            .or_else(|| head.rewrite())
            .unwrap_or(&facts.model);
        if model.is_empty() {
            return Err(Reject::Malformed(NO_MODEL.to_owned()));
        }
        self.streamed = facts.stream;
        let prompt = facts.prompt_view(frames.as_slice());
        let request = InferenceRequest {
            model,
            prompt: Some(Prompt(&prompt)),
            cache_salt: facts.cache_salt.as_deref().unwrap_or(""),
            prompt_bytes: facts.prompt_bytes,
            max_output_tokens: facts.max_tokens,
            stream: facts.stream,
            ..InferenceRequest::default()
        };
        let Some(route) = self.choose(head, bytes, request)? else {
            return Ok(None);
        };
        let changed = (model != facts.model).then(|| {
            if !facts.model.is_empty() {
                self.names = Some((model.to_owned(), facts.model.to_string()));
            }
            with_model(frames.as_slice(), &facts.model_at, model)
        });
        Ok(Some(Decided {
            route,
            changed,
            aside: false,
        }))
    }

    /// What the cluster's rules put in place of a model; a request that had to wait keeps what was drawn for it.
    fn decreed(&mut self, model: &str) -> Option<String> {
        if self.decreed.is_none() {
            let directives = self.lane.router.directives.load();
            let target = if directives.rewrites.is_empty() {
                None
            } else {
                let draw = self.lane.scratch.lock().rng.next_u64();
                directives.rewrites.target(model, draw)
            };
            self.decreed = Some(target.map(ToOwned::to_owned));
        }
        self.decreed.clone().flatten()
    }

    /// Asks the picker; `None` where the request has to wait to be let in.
    fn choose(
        &mut self,
        head: &RequestHead,
        bytes: usize,
        request: InferenceRequest<'_>,
    ) -> Result<Option<Route>, Reject> {
        let Some(exchange) = &mut self.exchange else {
            return Err(Reject::Internal("no way on".to_owned()));
        };
        if let Some(subset) = &self.subset {
            exchange.narrow(|endpoint| subset.allows(endpoint.address));
        }
        let id = exchange.request_id().to_owned();
        let request = InferenceRequest {
            id: &id,
            only_cached: head.only_cached,
            headers: Headers::of(head),
            ..request
        };
        if !self.arrived {
            self.arrived = true;
            match exchange.arrive(&request, bytes) {
                Effect::Nothing => {}
                Effect::AskAdmission => {
                    self.waiting = exchange.asking(request.model);
                    return Ok(None);
                }
                Effect::Reply(reject) => return Err(reject),
                Effect::Forward { .. } | Effect::Note(_) => {
                    return Err(Reject::Internal("no way on".to_owned()));
                }
            }
        }
        let (plan, snapshot) = (Arc::clone(exchange.plan()), Arc::clone(exchange.snapshot()));
        let (mut told, marks) = (Route::default(), &mut self.marks);
        let emit_scores = self.settings.emit_scores;
        let effect = exchange.ready_and_look(&request, |table, effect| {
            told = route(&plan, &snapshot, table, effect, emit_scores);
            *marks = routing::marks(&plan, &snapshot, effect);
        });
        match effect {
            Effect::Forward { .. } => {
                told.request_id.clone_from(&self.given_id);
                told.unwanted.clone_from(&head.unwanted);
                Ok(Some(told))
            }
            // The room it was given went to somebody else.
            Effect::AskAdmission => {
                self.waiting = exchange.asking(request.model);
                Ok(None)
            }
            Effect::Reply(reject) => Err(reject),
            Effect::Note(_) | Effect::Nothing => Err(Reject::Internal("no way on".to_owned())),
        }
    }

    fn refuse(&mut self, reject: &Reject, out: &mut Outbox) -> Turn {
        self.asking = Asking::Answered;
        let Some(mut exchange) = self.exchange.take() else {
            return Turn::Close;
        };
        let refused: PickerRefusal = match self.settings.error_format {
            ErrorFormat::Reference => reference_error(reject, exchange.plan().compat),
            ErrorFormat::OpenAi => openai_error(reject, None).into(),
        };
        exchange.refuse(reject.clone());
        exchange.rejected(reject, refused.status);
        out.message(&refusal(refused));
        Turn::Close
    }

    fn response_head(&mut self, head: &HttpHeaders, mode: BodyMode, out: &mut Outbox) {
        let read = ResponseHead::read(head.headers.as_ref());
        if let Some(exchange) = &mut self.exchange {
            if let Some(served) = self.served.take() {
                serve_by(exchange, served);
            }
            exchange.head(read.status);
        }
        let reply = Reply::begin(&read, mode, self.streamed, self.names.as_ref());
        let id = self
            .exchange
            .as_ref()
            .map(|exchange| exchange.request_id())
            .or(self.given_id.as_deref());
        let id = id.filter(|id| read.request_id.as_deref() != Some(id.as_bytes()));
        let loses_length = read.has_length && reply.changes_length() && !head.end_of_stream;
        out.message(&response_head(id, loses_length, &self.marks));
        self.reply = Some(reply);
        if head.end_of_stream {
            self.ended();
        }
    }

    fn response_body(&mut self, piece: HttpBody, mode: BodyMode, out: &mut Outbox) {
        let (bytes, last) = (piece.body.len(), piece.end_of_stream);
        if let Some(exchange) = &mut self.exchange {
            exchange.passed(bytes);
        }
        // A body without a head passes as it is.
        let head = ResponseHead::default();
        self.reply
            .get_or_insert_with(|| Reply::begin(&head, mode, false, None))
            .pass(piece, out);
        if last {
            self.ended();
        }
    }

    fn response_trailers(&mut self, out: &mut Outbox) {
        if let Some(reply) = &mut self.reply {
            reply.trailers(out);
        }
        self.ended();
        out.message(&go_on(Part::ResponseTrailers));
    }

    /// The answer came to its end: the endpoint is released.
    fn ended(&mut self) {
        let facts = self.reply.as_mut().map(Reply::finish).unwrap_or_default();
        if let Some(mut exchange) = self.exchange.take() {
            exchange.end(facts.usage, facts.id.as_deref());
        }
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

/// The gateway says who served: if that is another one than the endpoint picked, it counts there from now on.
fn serve_by(exchange: &mut Exchange, served: SocketAddr) {
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
    }
}
