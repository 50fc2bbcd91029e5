//! `--config FILE`: the flags as keys of a YAML file.
//!
//! What is said on the command line or in the environment wins over the file, key by key; a list in one place
//! replaces the list in the other.

use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use serde_json::{Map, Value};

use crate::flags::SimConfig;

/// A [`SimConfig`] whose file has been read, for use in a command line.
#[derive(Clone, Debug)]
pub struct Configured(pub SimConfig);

impl Args for Configured {
    fn augment_args(command: Command) -> Command {
        SimConfig::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        SimConfig::augment_args_for_update(command)
    }
}

impl FromArgMatches for Configured {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = SimConfig::from_arg_matches(matches)?;
        let Some(path) = &given.config else {
            return Ok(Self(given));
        };
        let known = SimConfig::augment_args(Command::new("sim"));
        let keys = read(path)?;
        let flags = [
            from_file(path, &keys, &known, matches)?,
            from_line(&known, matches),
        ]
        .concat();
        SimConfig::from_flags(flags).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn refuse(path: &Path, fault: &dyn std::fmt::Display) -> Error {
    let path = path.display();
    Error::raw(
        ErrorKind::ValueValidation,
        format!("--config {path}: {fault}\n"),
    )
}

fn read(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read_to_string(path).map_err(|fault| refuse(path, &fault))?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str::<Value>(&text) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(refuse(path, &"must be a list of keys with values")),
        Err(fault) => Err(refuse(path, &fault)),
    }
}

/// Whether somebody who ran the command said this, in words or in the environment.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(
        matches.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// The file's keys as flags, without those that are given elsewhere.
fn from_file(
    path: &Path,
    keys: &Map<String, Value>,
    known: &Command,
    matches: &ArgMatches,
) -> Result<Vec<String>, Error> {
    let mut flags = Vec::new();
    for (key, value) in keys {
        let long = |name: &str| {
            known
                .get_arguments()
                .find(|argument| argument.get_long() == Some(name))
        };
        // The flags of the reference's log library have underscores of their own.
        let argument = long(key)
            .or_else(|| long(&key.replace('_', "-")))
            .filter(|argument| argument.get_id() != "config")
            .ok_or_else(|| {
                refuse(
                    path,
                    &format!("unknown key {key:?}; keys are the flags' names"),
                )
            })?;
        if is_given(matches, argument.get_id().as_str()) {
            continue;
        }
        let flag = format!("--{}", argument.get_long().unwrap_or_default());
        let switch = matches!(argument.get_action(), ArgAction::SetTrue);
        match value {
            Value::Null | Value::Bool(false) if switch || value.is_null() => {}
            Value::Bool(true) if switch => flags.push(flag),
            _ if switch => return Err(refuse(path, &format!("{key}: must be true or false"))),
            Value::Array(list) if matches!(argument.get_action(), ArgAction::Append) => {
                if !list.is_empty() {
                    flags.push(flag);
                    flags.extend(list.iter().map(word));
                }
            }
            value => flags.push(format!("{flag}={}", word(value))),
        }
    }
    Ok(flags)
}

/// A value as it would stand on the command line.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What was given on the command line or in the environment, as flags again.
fn from_line(known: &Command, matches: &ArgMatches) -> Vec<String> {
    let mut flags = Vec::new();
    for argument in known.get_arguments() {
        let id = argument.get_id().as_str();
        let Some(long) = argument.get_long().filter(|_| is_given(matches, id)) else {
            continue;
        };
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            if matches.get_flag(id) {
                flags.push(format!("--{long}"));
            }
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        let values = values.map(|value| value.to_string_lossy().into_owned());
        if matches!(argument.get_action(), ArgAction::Append) {
            flags.push(format!("--{long}"));
            flags.extend(values);
        } else {
            flags.extend(values.map(|value| format!("--{long}={value}")));
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(name: &str, yaml: &str, flags: &[&str]) -> Result<SimConfig, String> {
        let name = format!("pointsman-sim-{}-{name}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, yaml).unwrap();
        let command = Configured::augment_args(Command::new("sim").no_binary_name(true));
        let path_flag = format!("--config={}", path.display());
        let flags = [&[path_flag.as_str()], flags].concat();
        let found = command
            .try_get_matches_from(flags)
            .and_then(|matches| Configured::from_arg_matches(&matches))
            .map(|configured| configured.0)
            .map_err(|fault| fault.to_string());
        std::fs::remove_file(&path).unwrap();
        found
    }

    #[test]
    fn keys_are_flags_and_flags_win() {
        let yaml = "\
port: 8001
model: \"Qwen/Qwen2-0.5B\"
served-model-name:
- \"model1\"
- \"model2\"
max-num-seqs: 5
time-to-first-token: 2000
inter-token-latency: 1s
enforce-eager: true
no-enable-prefix-caching: true
deterministic: false
";
        let config = parse("win", yaml, &["--port", "9000", "--max-num-seqs=7"]).unwrap();
        assert_eq!((config.port, config.max_num_seqs), (9000, 7));
        assert_eq!(config.model, "Qwen/Qwen2-0.5B");
        assert_eq!(config.served_model_name, ["model1", "model2"]);
        let times = &config.reference;
        assert_eq!(times.time_to_first_token, Some(Duration::from_secs(2)));
        assert_eq!(times.inter_token_latency, Some(Duration::from_secs(1)));
        assert!(config.no_enable_prefix_caching && !config.deterministic);
        let config = parse(
            "list",
            yaml,
            &["--served-model-name", "a", "b", "--deterministic"],
        );
        let config = config.unwrap();
        assert_eq!(config.served_model_name, ["a", "b"]);
        assert!(config.deterministic);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_said() {
        let refused = |name, yaml, part: &str| {
            let fault = parse(name, yaml, &[]).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        };
        refused("key", "colour: red", "unknown key \"colour\"");
        refused("port", "port: many", "--port");
        refused("block", "block-size: 17", "8, 16, 32");
        refused("list", "- a", "list of keys");
        assert!(parse("empty", "", &[]).is_ok());
    }
}
