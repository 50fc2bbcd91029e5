//! Who a custom resource is.

use serde_json::Value;

use crate::spec::invalid::Invalid;

/// Identity of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; none where it was read from a file.
    pub uid: Option<String>,
}

impl Identity {
    /// Reads it from an object.
    ///
    /// # Errors
    /// The object has no name. A namespace that is left out is `default`, as everywhere.
    pub fn of(object: &Value) -> Result<Self, Invalid> {
        let meta = &object["metadata"];
        let text = |key: &str| meta[key].as_str().filter(|text| !text.is_empty());
        let Some(name) = text("name") else {
            return Err(Invalid::value("metadata.name is missing"));
        };
        if name.len() > 63 {
            return Err(Invalid::new(
                "NameTooLong",
                format!(
                    "metadata.name is {} long and must be at most 63, since it becomes the value of a label",
                    name.len()
                ),
            ));
        }
        Ok(Self {
            namespace: text("namespace").unwrap_or("default").to_owned(),
            name: name.to_owned(),
            uid: text("uid").map(str::to_owned),
        })
    }
}
