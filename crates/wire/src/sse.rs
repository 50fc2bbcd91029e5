//! Events that we put into a stream ourselves.

use crate::status::openai_error_body;
use pointsman_core::model::reject::Reject;

/// The event that ends a stream which failed after its first byte: `data: {"error":…}` and an
/// empty line. The connection closes after it, without `data: [DONE]`.
pub fn error_event(reject: &Reject) -> Vec<u8> {
    let body = openai_error_body(reject, None);
    let mut event = Vec::with_capacity(body.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(&body);
    event.extend_from_slice(b"\n\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_event() {
        let event = String::from_utf8_lossy(&error_event(&Reject::UpstreamTimeout)).into_owned();
        let expected = "data: {\"error\":{\"message\":\"the endpoint gave no answer in time\",\
            \"type\":\"server_error\",\"param\":null,\"code\":\"upstream-timeout\"}}\n\n";
        assert_eq!(event, expected);
    }
}
