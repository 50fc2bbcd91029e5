//! Receipts from a file: an answer of `/debug/decisions`, one receipt, a list of them, one per line, or a decision
//! log, whose lines may have something before their JSON (as `kubectl logs --prefix` writes them).

use std::path::Path;

use anyhow::{Context, bail};
use pointsman_wire::decision_log::{BREAKDOWN_MSG, DECISION_MSG};
use pointsman_wire::receipt::{Receipt, SCHEMA_VERSION};
use serde::Deserialize as _;
use serde_json::Value;

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its receipts, in the order of the file.
    pub(crate) receipts: Vec<Receipt>,
    /// Lines of a decision log that tell of a decision without being its receipt.
    pub(crate) log: Vec<Value>,
    /// Lines that are neither; a log has many of its own.
    pub(crate) others: usize,
    /// What is wrong with the first thing that looks like a receipt and cannot be read.
    pub(crate) broken: Option<String>,
}

impl Found {
    /// Reads a file, or the standard input for `-`.
    ///
    /// # Errors
    /// It cannot be read, or holds nothing about a decision.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let bytes = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
                .context("cannot read the standard input")?;
            bytes
        } else {
            std::fs::read(path).with_context(|| format!("cannot read {shown}"))?
        };
        let found = Self::read(&String::from_utf8_lossy(&bytes));
        if found.receipts.is_empty() && found.log.is_empty() {
            let why = found
                .broken
                .map_or_else(String::new, |why| format!("; {why}"));
            bail!(
                "{shown} holds no receipt and no decision log line{why}\n\
                 Receipts come from the admin port (curl -s localhost:9090/debug/decisions?limit=1000), \
                 log lines from --log json or --log-file"
            );
        }
        Ok(found)
    }

    /// Reads the text of a file.
    pub(crate) fn read(text: &str) -> Self {
        let mut found = Self::default();
        match serde_json::from_str::<Value>(text) {
            Ok(document) => found.take_document(document),
            Err(_) => {
                for (at, line) in text.lines().enumerate() {
                    found.take_line(at + 1, line);
                }
            }
        }
        found
    }

    fn take_document(&mut self, mut document: Value) {
        if let Some(list) = document.get_mut("decisions").map(Value::take) {
            document = list;
        }
        match document {
            Value::Array(list) => {
                for (at, one) in list.into_iter().enumerate() {
                    self.take(&format!("entry {at}"), one);
                }
            }
            one => self.take("the document", one),
        }
    }

    fn take_line(&mut self, number: usize, line: &str) {
        let json = line
            .find('{')
            .and_then(|at| serde_json::from_str::<Value>(&line[at..]).ok());
        match json {
            Some(value) => self.take(&format!("line {number}"), value),
            None if line.trim().is_empty() => {}
            None => self.others += 1,
        }
    }

    fn take(&mut self, place: &str, mut value: Value) {
        if let Some(receipt) = value.get_mut("receipt").map(Value::take) {
            value = receipt;
        }
        if value.get("requestId").is_some() && value.get("profiles").is_some() {
            match Receipt::deserialize(&value) {
                Ok(receipt) if receipt.schema_version > SCHEMA_VERSION => {
                    self.note(format!(
                        "{place} is of version {}, newer than the {SCHEMA_VERSION} known here",
                        receipt.schema_version
                    ));
                }
                Ok(receipt) => self.receipts.push(receipt),
                Err(error) => self.note(format!("{place} is no receipt: {error}")),
            }
            return;
        }
        match value["msg"].as_str() {
            Some(DECISION_MSG | BREAKDOWN_MSG) => self.log.push(value),
            _ => self.others += 1,
        }
    }

    fn note(&mut self, what: String) {
        self.others += 1;
        self.broken.get_or_insert(what);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn receipt(id: &str) -> Value {
        json!({
            "schemaVersion": 1, "requestId": id, "at": "2026-11-28T12:00:00.000000Z", "door": "gateway",
            "model": "m", "promptBytes": 5, "plan": {"generation": 1, "compat": "g1", "hash": "0", "source": "x"},
            "pool": {"generation": 1, "size": 0}, "profiles": [], "attempts": [],
            "timesMs": {"queue": 0.0, "pick": 0.0}, "replayable": false, "truncated": false,
        })
    }

    #[track_caller]
    fn check(text: &str, ids: &[&str], log: usize, others: usize) {
        let found = Found::read(text);
        let read: Vec<&str> = found
            .receipts
            .iter()
            .map(|r| r.request_id.as_str())
            .collect();
        assert_eq!(read, ids);
        assert_eq!((found.log.len(), found.others), (log, others), "{text}");
    }

    #[test]
    fn every_form_of_file_is_read() {
        let (a, b) = (receipt("a"), receipt("b"));
        check(&a.to_string(), &["a"], 0, 0);
        check(&json!([a, b]).to_string(), &["a", "b"], 0, 0);
        check(
            &json!({"schemaVersion": 1, "decisions": [b, a]}).to_string(),
            &["b", "a"],
            0,
            0,
        );
        check(&format!("{a}\n\n{b}\n"), &["a", "b"], 0, 0);
        let log = format!(
            "gateway ready\n[pod/epp-1] {}\n{}\n{}\n",
            json!({"msg": "Scoring decision", "request_id": "a"}),
            json!({"msg": "Request receipt", "request_id": "a", "receipt": a}),
            json!({"msg": "something else"}),
        );
        check(&log, &["a"], 1, 2);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut newer = receipt("a");
        newer["schemaVersion"] = json!(2);
        let mut broken = receipt("b");
        broken["promptBytes"] = json!("many");
        let found = Found::read(&format!("{newer}\n{broken}\n"));
        assert!(found.receipts.is_empty());
        assert!(found.broken.unwrap().starts_with("line 1 is of version 2"));
        let found = Found::read(&format!("{broken}\n"));
        assert!(found.broken.unwrap().contains("promptBytes") || found.others == 1);
    }
}
