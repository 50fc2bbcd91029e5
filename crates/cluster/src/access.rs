//! Who may read what we serve, as the API server says: whose a token is (TokenReview), and whether its owner may
//! (SubjectAccessReview). Answers are kept for a while, so that a reader who comes every few seconds costs little.

mod memory;
mod verdict;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectAccessReviewSpec, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::access::memory::{Key, Memory};
use crate::watch::chain;

pub use crate::access::verdict::Verdict;

/// How long an answer of the API server is waited for, both questions together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that are under way at once: who comes with made-up tokens must not burden the API server.
const AT_ONCE: usize = 8;

/// Whether our own account may ask whose a token is and what its owner may. Where the API server does not say within
/// [`PATIENCE`], it may.
pub async fn may_ask(client: &Client) -> bool {
    let both = async {
        for (group, resource) in [
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
        ] {
            if !may_create(client, group, resource).await {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap_or(true)
}

async fn may_create(client: &Client, group: &str, resource: &str) -> bool {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some("create".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let status = answer.ok().and_then(|answer| answer.status);
    status.is_none_or(|status| status.allowed)
}

/// Asks the API server, and remembers what it said.
pub struct Access {
    client: Client,
    memory: Memory,
    turns: Semaphore,
    /// Whether the last question was answered.
    answered: AtomicBool,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Access {
    /// Asks by `client`; `tell` hears when questions begin to stay unanswered, and when they are answered again.
    pub fn new(client: Client, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            client,
            memory: Memory::default(),
            turns: Semaphore::new(AT_ONCE),
            answered: AtomicBool::new(true),
            tell: Box::new(tell),
        }
    }

    /// Whether the owner of `token` may do `verb` (`get`) at `path` (`/metrics`).
    pub async fn verdict(&self, token: &str, verb: &str, path: &str) -> Verdict {
        let key = Key::new(token, verb, path);
        if let Some(known) = self.memory.recall(&key, Instant::now()) {
            return known;
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask(token, verb, path)).await;
        let verdict = asked.unwrap_or_else(|_| Verdict::Unanswered {
            user: None,
            why: format!("no answer within {} s", PATIENCE.as_secs()),
        });
        self.note(&verdict);
        self.memory.keep(key, verdict.clone(), Instant::now());
        verdict
    }

    async fn ask(&self, token: &str, verb: &str, path: &str) -> Verdict {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let user = match self.owner(token).await {
            Ok(Some(user)) => user,
            Ok(None) => return Verdict::Unknown,
            Err(why) => {
                let why = format!("cannot create a TokenReview: {why}");
                return Verdict::Unanswered { user: None, why };
            }
        };
        let name = user.username.clone().unwrap_or_default();
        match self.may(user, verb, path).await {
            Ok(true) => Verdict::Allowed,
            Ok(false) => Verdict::Denied { user: name },
            Err(why) => Verdict::Unanswered {
                user: Some(name),
                why: format!("cannot create a SubjectAccessReview: {why}"),
            },
        }
    }

    async fn owner(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|why| chain(&why))?.status;
        let status = status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn may(&self, user: UserInfo, verb: &str, path: &str) -> Result<bool, String> {
        let extra: BTreeMap<String, Vec<String>> = user.extra.unwrap_or_default();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: (!extra.is_empty()).then_some(extra),
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some(verb.to_owned()),
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|why| chain(&why))?.status;
        Ok(status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }

    /// Says when it turns out that questions are not answered, and when they are again.
    fn note(&self, verdict: &Verdict) {
        let why = match verdict {
            Verdict::Unanswered { why, .. } => Some(why),
            _ => None,
        };
        if self.answered.swap(why.is_none(), Ordering::AcqRel) == why.is_none() {
            return;
        }
        (self.tell)(&match why {
            Some(why) => format!(
                "metrics: readers are turned away with 500, since the API server does not say who they are: {why}; \
                 the picker's service account needs create on tokenreviews and subjectaccessreviews"
            ),
            None => "metrics: the API server says again who readers are".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use kube::Config;

    use super::*;

    #[tokio::test]
    async fn whoever_nobody_can_be_asked_about_is_not_let_in_and_that_is_said_once() {
        // A port that is taken and served by nobody.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        drop(taken);
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let said = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&said);
        let access = Access::new(Client::try_from(config).unwrap(), move |text| {
            telling.lock().unwrap().push(text.to_owned());
        });
        for token in ["a", "b"] {
            let verdict = access.verdict(token, "get", "/metrics").await;
            assert!(
                matches!(verdict, Verdict::Unanswered { user: None, .. }),
                "{verdict:?}"
            );
        }
        let said = said.lock().unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("cannot create a TokenReview"), "{said:?}");
    }
}
