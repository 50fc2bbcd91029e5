//! An answer in which the client reads the name of the model that it asked for, not the engine's.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, header};
use http_body::Frame;
use pointsman_http::{Body, BodyError};
use pointsman_wire::extproc::rewrite::Renamer;

/// The same answer under the client's name; its length is no longer known beforehand.
pub fn renamed(response: Response<Body>, engines: &str, clients: &str) -> Response<Body> {
    if engines == clients || http_body::Body::is_end_stream(response.body()) {
        return response;
    }
    let (mut head, inner) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let renaming = Renaming {
        inner,
        renamer: Some(Renamer::new(engines, clients)),
    };
    Response::from_parts(head, Body::boxed(renaming))
}

/// A body whose name changes as it passes.
struct Renaming {
    inner: Body,
    /// Until the end has passed.
    renamer: Option<Renamer>,
}

impl Renaming {
    /// What a piece becomes; after the last one nothing is held back.
    fn pass(&mut self, piece: Bytes, last: bool) -> Bytes {
        let Some(renamer) = &mut self.renamer else {
            return piece;
        };
        let passed = renamer.pass(piece, last);
        if last {
            self.renamer = None;
        }
        passed
    }
}

impl http_body::Body for Renaming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        let last = http_body::Body::is_end_stream(&this.inner);
                        let passed = this.pass(piece, last);
                        // All of it may be the beginning of the name.
                        if !passed.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(passed))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                None => {
                    let rest = this.pass(Bytes::new(), true);
                    let rest = Some(rest).filter(|rest| !rest.is_empty());
                    return Poll::Ready(rest.map(|rest| Ok(Frame::data(rest))));
                }
                broken => return Poll::Ready(broken),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.renamer.is_none() && http_body::Body::is_end_stream(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt;
    use pointsman_http::Frames;

    fn answer(pieces: &[&'static str]) -> Response<Body> {
        let mut frames = Frames::default();
        for piece in pieces {
            // As large as pieces are that are not joined.
            frames.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut response = Response::new(Body::frames(frames));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, 7.into());
        response
    }

    async fn text(response: Response<Body>) -> String {
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(whole.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_client_reads_its_own_name_and_no_wrong_length() {
        let response = renamed(answer(&["{\"model\":\"big\",\"x\":1}"]), "big", "alias");
        assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
        assert_eq!(text(response).await, "{\"model\":\"alias\",\"x\":1}");
    }

    #[tokio::test]
    async fn what_could_have_become_the_name_is_not_lost_at_the_end() {
        let (sender, body) = Body::channel(4);
        let sending = tokio::spawn(async move {
            for piece in ["{\"mod", "el\": \"bi", "g\"} \"model\":\"b"] {
                sender
                    .send(Bytes::from_static(piece.as_bytes()))
                    .await
                    .unwrap();
            }
            sender.finish();
        });
        let response = renamed(Response::new(body), "big", "alias");
        assert_eq!(text(response).await, "{\"model\": \"alias\"} \"model\":\"b");
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn an_equal_name_changes_nothing() {
        let response = renamed(answer(&["x"]), "m", "m");
        assert!(response.headers().contains_key(header::CONTENT_LENGTH));
        assert_eq!(text(response).await, "x");
    }
}
