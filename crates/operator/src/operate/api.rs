//! Requests to the API server, as plain values in and out.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::timeout;

use crate::crd::{GROUP, VERSION};
use crate::desired::child::{MANAGER, Owner};
use crate::kinds::Kind;
use crate::operate::counts::Counts;

/// Longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{verb} {what}: {message}")]
pub(crate) struct Failure {
    /// The HTTP status; 0 where there was no answer.
    pub(crate) code: u16,
    /// What was tried.
    pub(crate) verb: &'static str,
    /// On what.
    pub(crate) what: String,
    /// What the server said.
    pub(crate) message: String,
}

impl Failure {
    /// The reason for a condition.
    pub(crate) fn reason(&self) -> &'static str {
        match self.code {
            403 => "Forbidden",
            _ => "APIError",
        }
    }
}

/// The API server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) counts: Arc<Counts>,
}

/// A kind as the client wants it.
pub(crate) fn resource(kind: &Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, kind.plural)
}

/// A custom resource's kind as the client wants it.
pub(crate) fn custom_resource(owner: Owner) -> ApiResource {
    let gvk = GroupVersionKind::gvk(GROUP, VERSION, owner.kind());
    ApiResource::from_gvk_with_plural(&gvk, owner.plural())
}

/// One that does not answer must not hold up all the others.
async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = |_| Err(kube::Error::Service("no answer in time".into()));
    timeout(LONGEST, request).await.unwrap_or_else(late)
}

impl Server {
    fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    fn outcome<T>(
        &self,
        verb: &'static str,
        what: (&ApiResource, &str, &str),
        result: Result<T, kube::Error>,
    ) -> Result<T, Failure> {
        self.counts.called(verb, result.is_ok());
        let (resource, namespace, name) = what;
        result.map_err(|error| {
            let (code, message) = match &error {
                kube::Error::Api(status) => (status.code, status.message.clone()),
                other => (0, other.to_string()),
            };
            let group = match resource.group.as_ref() {
                "" => String::new(),
                group => format!(".{group}"),
            };
            Failure {
                code,
                verb,
                what: format!("{}{group} {namespace}/{name}", resource.plural),
                message,
            }
        })
    }

    /// An object, or none.
    pub(crate) async fn get(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let resource = resource(kind);
        let result = within(self.api(&resource, namespace).get_opt(name)).await;
        let found = self.outcome("get", (&resource, namespace, name), result)?;
        Ok(found.map(|object| plain(&object, &resource)))
    }

    /// All objects of a kind in a namespace.
    pub(crate) async fn list(&self, kind: &Kind, namespace: &str) -> Result<Vec<Value>, Failure> {
        let resource = resource(kind);
        let all = ListParams::default();
        let result = within(self.api(&resource, namespace).list(&all)).await;
        let found = self.outcome("list", (&resource, namespace, ""), result)?;
        Ok(found
            .items
            .iter()
            .map(|object| plain(object, &resource))
            .collect())
    }

    /// Server-side apply; with `dry` nothing is written.
    pub(crate) async fn apply(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        object: &Value,
        dry: bool,
    ) -> Result<Value, Failure> {
        let resource = resource(kind);
        let mut how = PatchParams::apply(MANAGER).force();
        how.dry_run = dry;
        let (api, patch) = (self.api(&resource, namespace), Patch::Apply(object));
        let result = within(api.patch(name, &how, &patch)).await;
        let applied = self.outcome("apply", (&resource, namespace, name), result)?;
        Ok(plain(&applied, &resource))
    }

    /// A merge patch.
    pub(crate) async fn merge(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, Failure> {
        let how = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (self.api(resource, namespace), Patch::Merge(patch));
        let result = within(api.patch(name, &how, &patch)).await;
        let patched = self.outcome("patch", (resource, namespace, name), result)?;
        Ok(plain(&patched, resource))
    }

    /// A merge patch of the status.
    pub(crate) async fn merge_status(
        &self,
        owner: Owner,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, Failure> {
        let resource = custom_resource(owner);
        let how = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (self.api(&resource, namespace), Patch::Merge(patch));
        let result = within(api.patch_status(name, &how, &patch)).await;
        let patched = self.outcome(
            "patch",
            (&resource, namespace, &format!("{name}/status")),
            result,
        )?;
        Ok(plain(&patched, &resource))
    }

    /// Deletes an object if it is still the one that was seen; one that is gone already counts as deleted.
    pub(crate) async fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), Failure> {
        let resource = resource(kind);
        let how = DeleteParams {
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        let result = within(self.api(&resource, namespace).delete(name, &how)).await;
        match self.outcome("delete", (&resource, namespace, name), result) {
            Err(failure) if failure.code != 404 => Err(failure),
            _ => Ok(()),
        }
    }
}

/// An object as a plain value, which always says what it is.
pub(crate) fn plain(object: &DynamicObject, resource: &ApiResource) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    value["apiVersion"] = Value::from(resource.api_version.as_str());
    value["kind"] = Value::from(resource.kind.as_str());
    value
}
