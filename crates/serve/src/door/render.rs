//! Asks a model server for the token ids of a prompt, where the plan's `token-producer` names one.
//!
//! The question is put before the decision and bounded in time; without an answer the decision goes by an estimate, and
//! the failure is counted.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use pointsman_core::contract::data_layer::RenderServer;
use pointsman_core::model::prompt::PromptView;
use pointsman_core::schedule::plan::Plan;
use pointsman_http::{Body, Frames, Pool, collect};
use pointsman_wire::extproc::rewrite::with_model;
use pointsman_wire::request::openai::{ApiKind, RequestFacts};
use pointsman_wire::request::token_ids::{PlainPrompt, rendered};
use tokio::time::timeout;

use crate::router::{Counts, Lane, Router};

/// A prompt as token ids.
pub type Rendered = Arc<PlainPrompt>;

/// Largest answer that is read: some ten million token ids.
const MOST: usize = 64 << 20;

/// The question for a request's token ids; `None` where there is nobody to ask, or nothing to ask about.
pub fn question(
    lane: &Arc<Lane>,
    plan: &Plan,
    kind: ApiKind,
    facts: &RequestFacts<'_>,
    frames: &Frames,
) -> Option<impl Future<Output = Option<Rendered>> + Send + use<>> {
    let server = plan.render_server.clone()?;
    let path = match kind {
        ApiKind::Completions => "/v1/completions/render",
        ApiKind::ChatCompletions => "/v1/chat/completions/render",
        _ => return None,
    };
    let multimodal = facts.prompt_view(frames.as_slice()).multimodal();
    let mut body = Frames::default();
    match &server.model {
        Some(model) => with_model(frames.as_slice(), &facts.model_at, model)
            .into_iter()
            .for_each(|frame| body.push(frame)),
        None => body = frames.clone(),
    }
    let (router, pool) = (Arc::clone(&lane.router), lane.pool.clone());
    Some(async move {
        let patience = Duration::from_nanos(match multimodal {
            true => server.multimodal_timeout.0.max(server.timeout.0),
            false => server.timeout.0,
        });
        let asked = ask(&router, &pool, &server, path, body, patience);
        let answer = timeout(patience, asked).await.ok().flatten();
        Counts::add(match &answer {
            Some(_) => &router.counts.rendered,
            None => &router.counts.not_rendered,
        });
        if answer.is_none() {
            router.rendering.forget();
        }
        answer.map(|bytes| Arc::new(PlainPrompt::tokens(bytes, multimodal)))
    })
}

async fn ask(
    router: &Router,
    pool: &Pool,
    server: &RenderServer,
    path: &str,
    body: Frames,
    patience: Duration,
) -> Option<Vec<Vec<u32>>> {
    let address = router.rendering.address(&server.authority).await?;
    let request = Request::post(format!("{}{path}", server.prefix))
        .header(header::HOST, &*server.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::frames(body))
        .ok()?;
    let response = pool.send(address, request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let answer = collect(response.into_body(), MOST, patience).await.ok()?;
    rendered(&answer.joined())
}
