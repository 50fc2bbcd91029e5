//! Custom resources out of files, and the objects that they stand for as text.

use serde_json::{Value, json};

use crate::crd::{API_VERSION, GROUP};
use crate::desired::child::{Child, Owner};
use crate::desired::twice::once;
use crate::desired::{Observed, install, simulator};
use crate::spec::{install as install_spec, invalid::Invalid, simulator as simulator_spec};

/// Why a file cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It is no YAML.
    #[error("{0}")]
    Yaml(String),
    /// It holds nothing.
    #[error("there is no SchedulerInstall and no SimulatorDeployment in it")]
    Empty,
    /// Something else is in it.
    #[error(
        "document {number} is a {found}; a SchedulerInstall or SimulatorDeployment of {API_VERSION} is expected"
    )]
    Foreign {
        /// Which document, from 1.
        number: usize,
        /// What it says it is.
        found: String,
    },
    /// It cannot be followed.
    #[error("{kind} {name}: {invalid}")]
    Invalid {
        /// Which kind.
        kind: &'static str,
        /// Which one.
        name: String,
        /// Why.
        invalid: Invalid,
    },
}

/// How an object is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML documents.
    Yaml,
    /// One JSON document.
    Json,
}

/// All objects of all custom resources in a text, in order.
///
/// # Errors
/// The text is no YAML, something else is in it, or one of them cannot be followed.
pub fn children_of(text: &str) -> Result<Vec<Child>, RenderError> {
    let mut made = Vec::new();
    for (owner, object) in resources_of(text)? {
        let children = children(owner, &object, &Observed::default());
        made.extend(children.map_err(|invalid| invalid_of(owner, &object, invalid))?);
    }
    Ok(made)
}

/// All custom resources in a text, in order.
///
/// # Errors
/// The text is no YAML, or something else is in it.
pub fn resources_of(text: &str) -> Result<Vec<(Owner, Value)>, RenderError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| RenderError::Yaml(error.to_string()))?;
    let mut objects = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        match document {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind") == Some(&json!("List")) => {
                let items = list.remove("items");
                objects.extend(
                    items
                        .and_then(|items| items.as_array().cloned())
                        .unwrap_or_default()
                        .into_iter()
                        .map(|item| (index + 1, item)),
                );
            }
            other => objects.push((index + 1, other)),
        }
    }
    if objects.is_empty() {
        return Err(RenderError::Empty);
    }
    let owned = |(number, object): (usize, Value)| Ok((owner_of(number, &object)?, object));
    objects.into_iter().map(owned).collect()
}

fn owner_of(number: usize, object: &Value) -> Result<Owner, RenderError> {
    let word = |key: &str| {
        object[key]
            .as_str()
            .unwrap_or("document without kind")
            .to_owned()
    };
    let owner = [Owner::Install, Owner::Simulator]
        .into_iter()
        .find(|owner| object["apiVersion"] == API_VERSION && object["kind"] == owner.kind());
    let Some(owner) = owner else {
        let of = object["apiVersion"].as_str().unwrap_or_default();
        let found = format!("{} {of}", word("kind")).trim_end().to_owned();
        return Err(RenderError::Foreign { number, found });
    };
    Ok(owner)
}

fn invalid_of(owner: Owner, object: &Value, invalid: Invalid) -> RenderError {
    RenderError::Invalid {
        kind: owner.kind(),
        name: object["metadata"]["name"]
            .as_str()
            .unwrap_or("without a name")
            .to_owned(),
        invalid,
    }
}

/// The objects of one custom resource.
///
/// # Errors
/// It cannot be followed.
pub fn children(owner: Owner, object: &Value, observed: &Observed) -> Result<Vec<Child>, Invalid> {
    let children = match owner {
        Owner::Install => install::desired(&install_spec::settle(object)?, observed),
        Owner::Simulator => simulator::desired(&simulator_spec::settle(object)?),
    };
    once(owner, &children)?;
    Ok(children)
}

/// What the labels of the group begin with.
pub const LABEL_PREFIX: &str = GROUP;

/// Objects as text.
pub fn text<'a>(
    objects: impl IntoIterator<Item = (&'a Value, Option<&'a str>)>,
    format: Format,
) -> String {
    match format {
        Format::Json => {
            let items: Vec<&Value> = objects.into_iter().map(|(value, _)| value).collect();
            format!(
                "{:#}\n",
                json!({"apiVersion": "v1", "kind": "List", "items": items})
            )
        }
        Format::Yaml => {
            let mut out = String::new();
            for (value, note) in objects {
                out.push_str("---\n");
                if let Some(note) = note {
                    out.push_str(&format!("# {note}\n"));
                }
                crate::yaml::write(value, &mut out);
            }
            out
        }
    }
}
