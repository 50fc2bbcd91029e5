//! Objects as plain values: lists of any kind, and whether somebody may do something.

use http::Request;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::watch::chain;

/// Objects asked for at once.
const PAGE: u32 = 500;

/// Which objects.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    /// The API group; empty for the core.
    pub group: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The kind's name in paths.
    pub plural: &'a str,
    /// `None`: of all namespaces, or of a kind that has none.
    pub namespace: Option<&'a str>,
}

/// Why objects cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The API server knows no such kind.
    #[error("the API server knows no such kind")]
    Unknown,
    /// The credentials do not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The API server cannot be reached, or answered otherwise.
    #[error("{0}")]
    Failed(String),
}

impl From<kube::Error> for ReadError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 => Self::Unknown,
                401 | 403 => Self::Forbidden(status.message.clone()),
                code if status.message.is_empty() => Self::Failed(format!("status {code}")),
                _ => Self::Failed(status.message.clone()),
            },
            other => Self::Failed(chain(&other)),
        }
    }
}

impl Collection<'_> {
    fn path(&self) -> String {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match self.namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }
}

/// All objects of a collection, without the lines about who manages which field.
///
/// # Errors
/// The kind is unknown, the credentials do not suffice, or the API server cannot be asked.
pub async fn list(client: &Client, which: Collection<'_>) -> Result<Vec<Value>, ReadError> {
    let (path, mut found, mut token) = (which.path(), Vec::new(), String::new());
    loop {
        let page = match token.is_empty() {
            true => format!("{path}?limit={PAGE}"),
            false => format!("{path}?limit={PAGE}&continue={}", escaped(&token)),
        };
        let mut list: Value = ask(client, Request::get(page).body(Vec::new())).await?;
        if let Value::Array(items) = list["items"].take() {
            found.extend(items.into_iter().map(|mut object| {
                if let Some(meta) = object["metadata"].as_object_mut() {
                    meta.remove("managedFields");
                }
                object
            }));
        }
        token = list["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if token.is_empty() {
            return Ok(found);
        }
    }
}

/// The API server's version, as `v1.35.4`.
///
/// # Errors
/// It cannot be asked.
pub async fn version(client: &Client) -> Result<String, ReadError> {
    let found: Value = ask(client, Request::get("/version").body(Vec::new())).await?;
    Ok(found["gitVersion"].as_str().unwrap_or_default().to_owned())
}

/// By how many seconds this machine's clock is ahead of the API server's.
///
/// # Errors
/// The API server cannot be asked, or names no time.
pub async fn clock_ahead(client: &Client) -> Result<i64, ReadError> {
    let request = Request::get("/version").body(Body::empty());
    let request = request.map_err(|error| ReadError::Failed(error.to_string()))?;
    let answer = client.send(request).await?;
    let told = answer
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok());
    let told = told.ok_or_else(|| ReadError::Failed("no date in its answer".to_owned()))?;
    Ok(Timestamp::now().as_second() - seconds(told).map_err(ReadError::Failed)?)
}

/// Seconds since 1970 of a date as HTTP writes it.
fn seconds(date: &str) -> Result<i64, String> {
    let parsed = k8s_openapi::jiff::fmt::rfc2822::parse(date);
    parsed
        .map(|at| at.timestamp().as_second())
        .map_err(|error| format!("'{date}' is no date: {error}"))
}

/// Whether `user` may do `verb` on `resource` of `group` in `namespace`.
///
/// # Errors
/// We may not ask, or the API server cannot be asked.
pub async fn may(
    client: &Client,
    user: &str,
    verb: &str,
    (group, resource): (&str, &str),
    namespace: &str,
) -> Result<bool, ReadError> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group, "resource": resource,
            },
        },
    });
    let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes());
    let answer: Value = ask(client, request).await?;
    Ok(answer["status"]["allowed"] == true)
}

async fn ask(
    client: &Client,
    request: Result<Request<Vec<u8>>, http::Error>,
) -> Result<Value, ReadError> {
    let request = request.map_err(|error| ReadError::Failed(error.to_string()))?;
    Ok(client.request::<Value>(request).await?)
}

/// A token in a query: what is neither letter nor digit is written as `%XX`.
fn escaped(token: &str) -> String {
    token
        .bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_and_dates_those_of_http() {
        let mut which = Collection {
            group: "",
            version: "v1",
            plural: "pods",
            namespace: Some("n"),
        };
        assert_eq!(which.path(), "/api/v1/namespaces/n/pods");
        (which.group, which.namespace) = ("apps", None);
        assert_eq!(which.path(), "/apis/apps/v1/pods");
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Ok(784_111_777));
        assert!(seconds("today").is_err());
        assert_eq!(escaped("a+/1="), "a%2B%2F1%3D");
    }
}
