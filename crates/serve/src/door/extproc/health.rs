//! The health service (`grpc.health.v1`): whether the picker may be asked.
//!
//! Any name of a service gets the same answer, as long as no leader is elected ([`Readiness::serves`]); `Watch` is not
//! there.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use pointsman_http::{Body, collect};
use pointsman_wire::extproc::frame_fault::Code;
use pointsman_wire::extproc::grpc::Deframer;
use pointsman_wire::extproc::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListResponse, NOT_SERVING, SERVICE_UNKNOWN,
    SERVING,
};
use prost::Message;

use crate::door::extproc::call::{finished, replied};
use crate::readiness::Readiness;

/// The service's path, before the method's name.
pub const SERVICE: &str = "/grpc.health.v1.Health/";

/// The names that are listed.
pub const NAMES: [&str; 4] = [
    "",
    "envoy.service.ext_proc.v3.ExternalProcessor",
    "liveness",
    "readiness",
];

/// Largest question, and how long it may take to come.
const MOST: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers a call of `method`.
pub async fn answer(
    method: &str,
    gzip: bool,
    incoming: Incoming,
    ready: &Readiness,
) -> Response<Body> {
    let status = |serves: Option<bool>| HealthCheckResponse {
        status: match serves {
            Some(true) => SERVING,
            Some(false) => NOT_SERVING,
            None => SERVICE_UNKNOWN,
        },
    };
    match method {
        "Check" => match question(incoming, gzip).await {
            Ok(asked) => replied(&status(ready.serves(&asked.service))),
            Err((code, why)) => finished(code, &why),
        },
        "List" => {
            let all = NAMES.map(|name| (name.to_owned(), status(ready.serves(name))));
            replied(&HealthListResponse {
                statuses: BTreeMap::from(all),
            })
        }
        _ => finished(Code::Unimplemented, "method Watch not implemented"),
    }
}

async fn question(incoming: Incoming, gzip: bool) -> Result<HealthCheckRequest, (Code, String)> {
    let broken = |why: String| (Code::Internal, why);
    let frames = collect(incoming, MOST, PATIENCE)
        .await
        .map_err(|error| broken(error.to_string()))?;
    let mut deframer = Deframer::new(MOST, gzip);
    deframer.feed(Bytes::from(frames.joined().into_owned()));
    let message = deframer
        .take()
        .map_err(|fault| (fault.code(), fault.to_string()))?
        .unwrap_or_default();
    HealthCheckRequest::decode(message).map_err(|fault| broken(fault.to_string()))
}
