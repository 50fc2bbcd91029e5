//! What a proxy says about its engines: `/health` and `/metrics`.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use pointsman_core::model::reject::Reject;
use pointsman_http::{Body, Frames, Pool, collect, discard};
use pointsman_wire::status::openai_error_body;

use crate::door::headers::strip_hop_by_hop;
use crate::door::proxy::refusal;
use crate::door::proxy::station::Station;
use crate::handoff::leg::{LegFailure, send};

/// Largest exposition that is passed on.
const PAGE: usize = 8 << 20;

/// The last line of an exposition in the OpenMetrics format; nothing may stand behind it.
const EOF: &[u8] = b"# EOF\n";

/// The engines that are asked, and how.
pub(crate) struct Asking<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) prefills: &'a [Station],
    pub(crate) decodes: &'a [Station],
    /// Each engine's part.
    pub(crate) patience: Duration,
}

/// The engines' own `/health`. A stage is up when one of its engines is.
///
/// | prefill | decode | status |
/// |---|---|---|
/// | up | up | 200 `healthy` |
/// | down | up | 200 `degraded`: decode computes prompts itself |
/// | any | down | 503 `unhealthy` |
pub(crate) async fn health(asking: &Asking<'_>) -> Response<Body> {
    let (prefill_state, decode_state) = tokio::join!(
        asking.any_up(asking.prefills),
        asking.any_up(asking.decodes)
    );
    let (status, word) = match (&prefill_state, &decode_state) {
        (_, Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (Err(_), Ok(())) => (StatusCode::OK, "degraded"),
        (Ok(()), Ok(())) => (StatusCode::OK, "healthy"),
    };
    let state = |state: &Result<(), LegFailure>| match state {
        Ok(()) => "healthy".to_owned(),
        Err(failure) => failure.to_string(),
    };
    let urls = |stations: &[Station]| {
        let urls: Vec<_> = stations.iter().map(|s| s.target.url()).collect();
        urls.join(",")
    };
    let body = serde_json::json!({
        "status": word,
        "prefill": urls(asking.prefills),
        "decode": urls(asking.decodes),
        "engines": {"prefill": state(&prefill_state), "decode": state(&decode_state)},
    });
    refusal::json(status, body.to_string().into_bytes())
}

/// The exposition of a decode engine, else that of a prefill engine, with `own` behind it; 503 when there is none.
pub(crate) async fn metrics(asking: &Asking<'_>, own: String) -> Response<Body> {
    for station in asking.decodes.iter().chain(asking.prefills) {
        let page = asking.get(station, "/metrics");
        let Ok(Some(mut page)) = tokio::time::timeout(asking.patience, page).await else {
            continue;
        };
        strip_hop_by_hop(page.headers_mut());
        page.headers_mut().remove(CONTENT_LENGTH);
        return page.map(|frames| Body::frames(with_own(&frames, own)));
    }
    refusal::json(
        StatusCode::SERVICE_UNAVAILABLE,
        openai_error_body(&Reject::UpstreamUnreachable { tried: 2 }, None),
    )
}

/// An engine's page with ours behind it, on a line of its own and before an end mark.
fn with_own(page: &Frames, own: String) -> Frames {
    let mut pieces: Vec<Bytes> = page.iter().cloned().collect();
    let mut own = own.into_bytes();
    if let Some(last) = pieces.last_mut() {
        if last.ends_with(EOF) {
            last.truncate(last.len() - EOF.len());
            own.extend_from_slice(EOF);
        } else if !last.ends_with(b"\n") {
            own.insert(0, b'\n');
        }
    }
    pieces.push(own.into());
    pieces.into_iter().collect()
}

impl Asking<'_> {
    async fn any_up(&self, stations: &[Station]) -> Result<(), LegFailure> {
        let mut last = LegFailure::Unresolved("there is no such engine".to_owned());
        for station in stations {
            match self.probe(station).await {
                Ok(()) => return Ok(()),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn probe(&self, station: &Station) -> Result<(), LegFailure> {
        let engine = station.engine();
        let answer = send(self.pool, engine.place, get("/health"), self.patience).await?;
        let status = answer.status();
        discard(answer.into_body(), 64 * 1024, self.patience).await;
        if status.is_success() {
            return Ok(());
        }
        Err(LegFailure::Status {
            url: engine.place.shown(),
            status,
        })
    }

    /// A page, if it comes and is whole.
    async fn get(&self, station: &Station, path: &'static str) -> Option<Response<Frames>> {
        let place = station.engine().place;
        let answer = send(self.pool, place, get(path), self.patience)
            .await
            .ok()
            .filter(|answer| answer.status().is_success())?;
        let (parts, body) = answer.into_parts();
        let frames = collect(body, PAGE, self.patience).await.ok()?;
        Some(Response::from_parts(parts, frames))
    }
}

fn get(path: &'static str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    request
        .headers_mut()
        .insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(page: &[&'static str], expected: &str) {
        let page = page
            .iter()
            .map(|piece| Bytes::from_static(piece.as_bytes()));
        let found = with_own(&page.collect(), "own 1\n".to_owned());
        assert_eq!(found.joined(), expected.as_bytes());
    }

    #[test]
    fn our_lines_stand_behind_the_engines() {
        check(&[], "own 1\n");
        check(&["a 1\n", "b 2\n"], "a 1\nb 2\nown 1\n");
        check(&["a 1"], "a 1\nown 1\n");
        check(&["a 1\n# EOF\n"], "a 1\nown 1\n# EOF\n");
    }
}
