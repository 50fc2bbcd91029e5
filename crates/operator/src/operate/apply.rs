//! Making one object as it should be, with as few requests as that takes.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::Value;

use crate::desired::child::{Child, MANAGER};
use crate::desired::picker::sha256;
use crate::operate::api::{Failure, Server, resource};
use crate::operate::difference::{Difference, correction, find};
use crate::operate::store::ObjectKey;
use crate::operate::subject::key_of;

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was as it should be: nothing was asked of the server.
    Nothing,
    /// It was made.
    Created,
    /// It was changed, because something else is asked for than before; in these places.
    Updated(String),
    /// It was set right after somebody else changed it; who, and in which places.
    Corrected(String, String),
}

/// A hash of what is asked for.
pub(crate) fn hash_of(child: &Child) -> String {
    let mut hash = sha256(child.value.to_string().as_bytes());
    hash.truncate(16);
    hash
}

/// What the cluster puts into objects by itself, whatever is written: defaults of definitions that are newer than this
/// operator. Learned when it comes back at once.
#[derive(Default)]
pub(crate) struct Habits {
    learned: Mutex<BTreeMap<ObjectKey, BTreeMap<Vec<String>, Value>>>,
}

impl Habits {
    /// All differences but for what is known to come back.
    fn differences(&self, child: &Child, live: &Value) -> Vec<Difference> {
        let mut found = find(&child.value, live);
        if let Some(known) = self.learned.lock().get(&key_of(child)) {
            found.retain(|one| !(one.more && known.get(&one.path) == Some(one.at(live))));
        }
        found
    }

    fn learn(&self, child: &Child, still: &[Difference], now: &Value) {
        let pairs = still
            .iter()
            .map(|one| (one.path.clone(), one.at(now).clone()));
        let mut learned = self.learned.lock();
        learned.entry(key_of(child)).or_default().extend(pairs);
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.learned.lock().remove(key);
    }
}

/// Makes the object as it should be. `live` is how it stands, `before` the hash of what was last asked for.
pub(crate) async fn apply(
    server: &Server,
    child: &Child,
    live: Option<&Value>,
    before: Option<&str>,
    habits: &Habits,
) -> Result<(Done, Option<Value>), Failure> {
    let asked_before = before == Some(hash_of(child).as_str());
    let found = live.map(|live| habits.differences(child, live));
    if asked_before && found.as_ref().is_some_and(Vec::is_empty) {
        return Ok((Done::Nothing, None));
    }
    let (kind, namespace, name) = (child.kind, child.namespace.as_str(), child.name.as_str());
    // What others added to what is ours as a whole stays in server-side apply; a patch takes it out, and alone does
    // when nothing else differs.
    let only_more = asked_before
        && found
            .as_ref()
            .is_some_and(|found| found.iter().all(|difference| difference.more));
    let mut now = match live {
        Some(live) if only_more => live.clone(),
        _ => {
            server
                .apply(kind, namespace, name, &child.value, false)
                .await?
        }
    };
    let left = habits.differences(child, &now);
    if !left.is_empty() {
        let patch = correction(&child.value, &left);
        now = server
            .merge(&resource(kind), namespace, name, &patch)
            .await?;
        let still = find(&child.value, &now);
        if still.iter().any(|difference| !difference.more) {
            return Err(Failure {
                code: 0,
                verb: "apply",
                what: format!("{} {namespace}/{name}", kind.full_name()),
                message: format!(
                    "does not keep {}: something in the cluster changes it at once",
                    places(&still)
                ),
            });
        }
        habits.learn(child, &still, &now);
    }
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    if asked_before && live.is_some_and(|live| version(live) == version(&now)) {
        return Ok((Done::Nothing, Some(now)));
    }
    let done = match (live, found) {
        (Some(live), Some(found)) if asked_before => {
            Done::Corrected(last_to_change(live), places(&found))
        }
        (Some(_), Some(found)) => Done::Updated(places(&found)),
        _ => Done::Created,
    };
    Ok((done, Some(now)))
}

fn places(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(Difference::place).collect();
    all.join(", ")
}

/// The field manager other than us that changed an object last.
fn last_to_change(object: &Value) -> String {
    let managers = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let others = managers.filter(|one| {
        one["manager"] != MANAGER && one["subresource"].as_str().is_none_or(str::is_empty)
    });
    let last = others.max_by_key(|one| one["time"].as_str().unwrap_or_default());
    last.and_then(|one| one["manager"].as_str())
        .unwrap_or("somebody")
        .to_owned()
}
