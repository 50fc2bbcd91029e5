//! Making one object as it should be, with as few requests as that takes.

use serde_json::Value;

use crate::desired::child::{Child, MANAGER};
use crate::desired::picker::sha256;
use crate::operate::api::{Failure, Server, resource};
use crate::operate::difference::{Difference, correction, find};

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

/// Makes the object as it should be. `live` is how it stands, `before` the hash of what was last asked for.
pub(crate) async fn apply(
    server: &Server,
    child: &Child,
    live: Option<&Value>,
    before: Option<&str>,
) -> Result<(Done, Option<Value>), Failure> {
    let asked_before = before == Some(hash_of(child).as_str());
    let found = live.map(|live| find(&child.value, live));
    if asked_before && found.as_ref().is_some_and(Vec::is_empty) {
        return Ok((Done::Nothing, None));
    }
    let (kind, namespace, name) = (child.kind, child.namespace.as_str(), child.name.as_str());
    // What others added to what is ours as a whole stays in server-side apply; a patch takes it out, and alone does
    // when nothing else differs.
    let only_extra = asked_before
        && found
            .as_ref()
            .is_some_and(|found| found.iter().all(|difference| difference.extra));
    let mut now = match live {
        Some(live) if only_extra => live.clone(),
        _ => {
            server
                .apply(kind, namespace, name, &child.value, false)
                .await?
        }
    };
    let left = find(&child.value, &now);
    if !left.is_empty() {
        let patch = correction(&child.value, &left);
        now = server
            .merge(&resource(kind), namespace, name, &patch)
            .await?;
        let still = find(&child.value, &now);
        if !still.is_empty() {
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
