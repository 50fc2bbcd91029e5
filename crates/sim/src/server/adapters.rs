//! LoRA adapters: which are loaded, and what the metrics page says of them.
//!
//! An adapter is a name beside the model's own. It changes no timing; its prompts share no prefix with the
//! model's or with another adapter's.

use http::Response;
use parking_lot::Mutex;
use pointsman_http::Body;
use serde::Deserialize;

use crate::server::api_error::ApiError;

/// One adapter, as `--lora-modules` and `/v1/load_lora_adapter` describe it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Adapter {
    /// The name that requests ask for.
    #[serde(alias = "lora_name")]
    pub name: String,
    /// Where its weights would be.
    #[serde(default, alias = "lora_path")]
    pub path: String,
    /// The model it belongs to, if one is named.
    #[serde(default)]
    pub base_model_name: Option<String>,
}

/// The adapters of one server, in the order in which they were loaded.
#[derive(Debug, Default)]
pub struct Adapters {
    list: Mutex<Vec<Adapter>>,
}

impl Adapters {
    /// These, to begin with.
    pub fn new(list: Vec<Adapter>) -> Self {
        Self {
            list: Mutex::new(list),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Adapter> {
        self.list.lock().clone()
    }

    /// Whether one of this name is loaded.
    pub fn has(&self, name: &str) -> bool {
        self.list.lock().iter().any(|adapter| adapter.name == name)
    }

    /// `/v1/load_lora_adapter`: one of the same name is replaced.
    ///
    /// # Errors
    /// When the body is none that names an adapter, or names the model itself.
    pub fn load(&self, body: &[u8], models: &[String]) -> Result<Response<Body>, ApiError> {
        let adapter: Adapter = read(body)?;
        if models.contains(&adapter.name) {
            return Err(ApiError::field(
                "lora_name",
                format!("`{}` is the model itself", adapter.name),
            ));
        }
        let mut list = self.list.lock();
        match list.iter_mut().find(|known| known.name == adapter.name) {
            Some(known) => *known = adapter,
            None => list.push(adapter),
        }
        Ok(Response::new(Body::empty()))
    }

    /// `/v1/unload_lora_adapter`: one that is not loaded is no error, as in the reference.
    ///
    /// # Errors
    /// When the body is none that names an adapter.
    pub fn unload(&self, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let gone: Adapter = read(body)?;
        self.list.lock().retain(|known| known.name != gone.name);
        Ok(Response::new(Body::empty()))
    }
}

fn read(body: &[u8]) -> Result<Adapter, ApiError> {
    let adapter: Adapter = serde_json::from_slice(body)
        .map_err(|fault| ApiError::bad_request(format!("the body cannot be read: {fault}")))?;
    if adapter.name.is_empty() {
        return Err(ApiError::field("lora_name", "lora_name must not be empty"));
    }
    Ok(adapter)
}

/// Which adapters have requests, and since when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterLoad {
    /// Adapters with requests in the batch.
    pub running: Vec<String>,
    /// Adapters with requests in the queue.
    pub waiting: Vec<String>,
    /// When that last changed, in seconds since 1970.
    pub changed: f64,
}

impl AdapterLoad {
    /// Takes the load of now; the time moves only when something changed.
    pub fn update(&mut self, mut running: Vec<String>, mut waiting: Vec<String>, now: f64) {
        for names in [&mut running, &mut waiting] {
            names.sort_unstable();
            names.dedup();
        }
        if self.changed == 0.0 || running != self.running || waiting != self.waiting {
            *self = Self {
                running,
                waiting,
                changed: now,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_come_and_go() {
        let adapters = Adapters::default();
        let models = ["m".to_owned()];
        let load = |body: &str| adapters.load(body.as_bytes(), &models);
        load(r#"{"lora_name":"a","lora_path":"/1"}"#).unwrap();
        load(r#"{"lora_name":"a","lora_path":"/2"}"#).unwrap();
        assert_eq!(adapters.all().len(), 1);
        assert_eq!(adapters.all()[0].path, "/2");
        assert!(load(r#"{"lora_name":"m","lora_path":"/1"}"#).is_err());
        assert!(load(r#"{"lora_name":"","lora_path":"/1"}"#).is_err());
        assert!(load("{}").is_err());
        adapters.unload(br#"{"lora_name":"b"}"#).unwrap();
        assert!(adapters.has("a"));
        adapters.unload(br#"{"lora_name":"a"}"#).unwrap();
        assert!(!adapters.has("a"));
    }

    #[test]
    fn the_time_of_a_change_is_that_of_the_change() {
        let mut load = AdapterLoad::default();
        let names = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        load.update(names("b a b"), Vec::new(), 10.0);
        load.update(names("a b"), Vec::new(), 20.0);
        assert_eq!(
            (load.running.join(","), load.changed),
            ("a,b".to_owned(), 10.0)
        );
        load.update(names("a"), names("b"), 30.0);
        assert_eq!(
            (load.waiting.join(","), load.changed),
            ("b".to_owned(), 30.0)
        );
    }
}
