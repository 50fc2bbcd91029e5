//! Following a set of objects: the whole set first, then its changes, and after every trouble the whole set again.
//!
//! Whoever follows keeps what it has heard while the API server cannot be asked. A set that is listed anew replaces
//! what was known of it, so nothing that was missed stays missed.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Api;
use kube::core::Resource;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

use crate::backoff::{Backoff, draw};

/// What is heard of the objects.
#[derive(Debug)]
pub enum Seen<K> {
    /// All there are.
    Listed(Vec<K>),
    /// One is new or has changed.
    Applied(K),
    /// One is gone.
    Deleted(K),
    /// They cannot be followed at the moment.
    Trouble(Trouble),
}

/// Why objects cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// The API server's or the connection's words.
    pub message: String,
}

/// Kinds of trouble that something different follows from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TroubleKind {
    /// The cluster knows no such kind of object.
    Unknown,
    /// The credentials do not allow it.
    Forbidden,
    /// The API server cannot be reached, or broke off.
    Unreachable,
    /// The API server answered with another error.
    Refused,
}

impl TroubleKind {
    /// The longest wait before the next attempt. A server that comes back is noticed within a second; what an
    /// administrator has to change is looked for less often.
    fn longest_wait(self) -> Duration {
        match self {
            Self::Unreachable => Duration::from_millis(500),
            Self::Refused => Duration::from_secs(2),
            Self::Unknown | Self::Forbidden => Duration::from_secs(4),
        }
    }
}

/// How long a watch lasts before the server ends it and it is opened again.
const WATCH_SECONDS: u32 = 60;

/// Silence after which a listing counts as lost, and a watch: a connection that leads nowhere says nothing.
const LISTING_SILENCE: Duration = Duration::from_secs(15);
const WATCH_SILENCE: Duration = Duration::from_secs(180);

/// Follows the objects of `api` that `config` selects, until dropped.
pub async fn follow<K>(api: Api<K>, config: watcher::Config, mut see: impl FnMut(Seen<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut backoff = Backoff::default();
    let mut last = None;
    loop {
        let trouble = run(&api, &config, &mut |seen| {
            if matches!(seen, Seen::Listed(_)) {
                backoff.reset();
            }
            see(seen);
        })
        .await;
        let Some(trouble) = trouble else { continue };
        if last.replace(trouble.kind) != Some(trouble.kind) {
            // Another kind of trouble: what an administrator had to change may be changed.
            backoff.reset();
        }
        let wait = backoff.next(trouble.kind.longest_wait(), draw());
        see(Seen::Trouble(trouble));
        tokio::time::sleep(wait).await;
    }
}

/// One listing and the changes after it, until trouble; `None` where there was only silence.
async fn run<K>(
    api: &Api<K>,
    config: &watcher::Config,
    see: &mut impl FnMut(Seen<K>),
) -> Option<Trouble>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api.clone(), config.clone().timeout(WATCH_SECONDS)));
    let (mut listing, mut silence) = (Vec::new(), LISTING_SILENCE);
    loop {
        match tokio::time::timeout(silence, events.next()).await {
            Err(_) if silence == LISTING_SILENCE => {
                return Some(Trouble {
                    kind: TroubleKind::Unreachable,
                    message: format!("no answer for {} s", silence.as_secs()),
                });
            }
            Err(_) | Ok(None) => return None,
            Ok(Some(Err(error))) => return Some(trouble(&error)),
            Ok(Some(Ok(event))) => match event {
                Event::Init => (listing, silence) = (Vec::new(), LISTING_SILENCE),
                Event::InitApply(object) => listing.push(object),
                Event::InitDone => {
                    silence = WATCH_SILENCE;
                    see(Seen::Listed(std::mem::take(&mut listing)));
                }
                Event::Apply(object) => see(Seen::Applied(object)),
                Event::Delete(object) => see(Seen::Deleted(object)),
            },
        }
    }
}

fn trouble(error: &watcher::Error) -> Trouble {
    let of_code = |code, message: &str| {
        let kind = match code {
            404 => TroubleKind::Unknown,
            401 | 403 => TroubleKind::Forbidden,
            _ => TroubleKind::Refused,
        };
        let message = if message.is_empty() {
            format!("status {code}")
        } else {
            message.to_owned()
        };
        Trouble { kind, message }
    };
    match error {
        watcher::Error::WatchError(status) => of_code(status.code, &status.message),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => {
            of_code(status.code, &status.message)
        }
        watcher::Error::NoResourceVersion => of_code(0, "the kind cannot be watched"),
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Trouble {
            kind: TroubleKind::Unreachable,
            message: chain(error),
        },
    }
}

/// An error and what it came from, in one line. What an API server answered is told in its own words: the library shows
/// the whole answer, field by field.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return match status.message.is_empty() {
            true => format!("status {}", status.code),
            false => status.message.clone(),
        };
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    use kube::core::Status;

    #[test]
    fn what_a_server_answered_is_told_in_its_own_words() {
        let error = kube::Error::Api(Box::new(Status {
            code: 403,
            message: "nodes is forbidden".to_owned(),
            ..Status::default()
        }));
        assert_eq!(chain(&error), "nodes is forbidden");
    }

    #[test]
    fn troubles_are_told_apart_by_what_the_server_says() {
        for (code, kind) in [
            (404, TroubleKind::Unknown),
            (403, TroubleKind::Forbidden),
            (401, TroubleKind::Forbidden),
            (410, TroubleKind::Refused),
            (500, TroubleKind::Refused),
        ] {
            let status = serde_json::json!({"code": code, "message": "m"});
            let status = serde_json::from_value(status).map(Box::new);
            let error = watcher::Error::WatchError(status.unwrap_or_default());
            assert_eq!(trouble(&error).kind, kind, "{code}");
        }
        let io = std::io::Error::other("reset");
        let broken = watcher::Error::WatchFailed(kube::Error::ReadEvents(io));
        assert_eq!(trouble(&broken).kind, TroubleKind::Unreachable);
        assert!(trouble(&broken).message.contains("reset"));
    }
}
