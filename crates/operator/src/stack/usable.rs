//! Whether values can be what they are given for, in the words of the flags: a cluster would refuse the objects, or take
//! them and never get a server up.

use crate::spec::validity::{label_name, object_name, picker_port, selector};
use crate::spec::written::Labels;
use crate::stack::settings::{Settings, Shape};
use crate::stack::volume::Source;

/// The longest name of a header that a route can look at.
const HEADER: usize = 256;

/// The longest name that can be the value of a label.
const LABEL: usize = 63;

impl Settings {
    /// What cannot be, in the words of the flags.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), String> {
        if self.shape == Shape::Pairs && self.pairs().is_empty() {
            return Err("there is no pair at all: --pairs p2p=1,fs=1 is the lab's".to_owned());
        }
        if self.parts.is_empty() {
            return Err("--parts names nothing that is made".to_owned());
        }
        let file_system = self.fs_pairs > 0 && self.shape == Shape::Pairs && !self.simulated;
        if file_system && self.kv_volume == Source::Empty {
            return Err("--kv-volume empty is each pod's own, so decode cannot see what prefill wrote: give host:/PATH (both are on one node) or pvc:NAME of a claim that several pods may write".to_owned());
        }
        each(self)
    }
}

/// Checks every value by itself, and ports against each other.
///
/// # Errors
/// The first one that cannot be.
fn each(settings: &Settings) -> Result<(), String> {
    names(settings)?;
    ports(settings)?;
    for (flag, text) in [
        ("--model", Some(&settings.model)),
        ("--image", Some(&settings.image)),
        ("--pointsman-image", Some(&settings.pointsman_image)),
        ("--epp-image", settings.epp_image.as_ref()),
    ] {
        let bad = |text: &&String| text.is_empty() || text.contains(char::is_whitespace);
        if let Some(text) = text.filter(bad) {
            return Err(format!(
                "{flag} is '{text}' and must be a word without gaps"
            ));
        }
    }
    if settings.max_model_len == 0 {
        return Err("--max-model-len is 0 and must be at least 1".to_owned());
    }
    let share = settings.gpu_memory.parse::<f64>().ok();
    if !share.is_some_and(|share| share > 0.0 && share <= 1.0) {
        return Err(format!(
            "--gpu-memory-utilization is '{}' and must be above 0 and at most 1, such as 0.90",
            settings.gpu_memory
        ));
    }
    let header = settings.ab_header.as_bytes();
    let token = |c: &u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(c);
    if header.is_empty() || header.len() > HEADER || !header.iter().all(token) {
        return Err(format!(
            "--ab-header is '{}' and must be the name of a header: letters, digits and '-', at most {HEADER}",
            settings.ab_header
        ));
    }
    let labels: Labels = settings.node_selector.iter().cloned().collect();
    selector("--node-selector", &labels).map_err(|invalid| invalid.message)?;
    for (flag, count) in [
        ("--max-pending-requests", settings.max_pending),
        ("--max-requests-per-connection", settings.max_per_connection),
    ] {
        if i32::try_from(count).is_err() {
            return Err(format!(
                "{flag} is {count} and must be at most {}",
                i32::MAX
            ));
        }
    }
    Ok(())
}

fn names(settings: &Settings) -> Result<(), String> {
    let own = |name: &String| name.clone();
    for (flag, name) in [
        ("--namespace", &settings.namespace),
        ("--scheduler-namespace", &settings.scheduler_namespace),
        ("--epp", &settings.epp),
        ("--proxy-service", &settings.proxy_service),
    ] {
        label_name(flag, own(name)).map_err(|invalid| invalid.message)?;
    }
    for (flag, name) in [
        ("--pool", Some(&settings.pool)),
        ("--ab-route", Some(&settings.ab_route)),
        ("--install", Some(&settings.install)),
        ("--simulator", Some(&settings.simulator)),
        ("--gateway", Some(&settings.gateway)),
        ("--gateway-class", Some(&settings.gateway_class)),
        ("--hf-token-secret", settings.token_secret.as_ref()),
    ] {
        if let Some(name) = name {
            object_name(flag, own(name)).map_err(|invalid| invalid.message)?;
        }
    }
    // These become values of labels.
    for (flag, name) in [
        ("--install", &settings.install),
        ("--simulator", &settings.simulator),
        ("--gateway", &settings.gateway),
    ] {
        if name.len() > LABEL {
            return Err(format!(
                "{flag} is {} long and must be at most {LABEL}, since it becomes the value of a label",
                name.len()
            ));
        }
    }
    Ok(())
}

fn ports(settings: &Settings) -> Result<(), String> {
    for (flag, port) in [
        ("--port", settings.port),
        ("--kv-port", settings.kv_port),
        ("--proxy-port", settings.proxy_port),
        ("--gateway-port", settings.gateway_port),
    ] {
        if port == 0 {
            return Err(format!("{flag} is 0 and must be between 1 and 65535"));
        }
    }
    if settings.port == settings.kv_port {
        return Err(format!("--port and --kv-port are both {}", settings.port));
    }
    picker_port(Some(settings.epp_port.into()), settings.epp_port)
        .map_err(|invalid| invalid.message.replace("spec.epp.port", "--epp-port"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lab_s_values_can_be() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(Settings::of_simulator().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_named_by_its_flag() {
        let refused = |change: &dyn Fn(&mut Settings), flag: &str| {
            let mut settings = Settings::default();
            change(&mut settings);
            let said = settings.check().unwrap_err();
            assert!(said.starts_with(flag), "{flag}: {said}");
        };
        refused(&|it| it.port = 0, "--port is 0");
        refused(&|it| it.kv_port = 0, "--kv-port is 0");
        refused(&|it| it.gateway_port = 0, "--gateway-port is 0");
        refused(&|it| it.kv_port = it.port, "--port and --kv-port");
        refused(&|it| it.epp_port = 9090, "--epp-port must not be");
        refused(&|it| it.epp_port = 0, "--epp-port is 0");
        refused(&|it| it.max_model_len = 0, "--max-model-len");
        for bad in ["abc", "1.5", "0", "-1", "NaN", ""] {
            refused(&|it| it.gpu_memory = bad.to_owned(), "--gpu-memory");
        }
        refused(&|it| it.namespace = "UPPER".to_owned(), "--namespace");
        refused(&|it| it.pool = "bad_name".to_owned(), "--pool");
        refused(&|it| it.gateway = "g".repeat(64), "--gateway is 64");
        refused(&|it| it.model = String::new(), "--model");
        refused(&|it| it.image = String::new(), "--image");
        refused(&|it| it.epp_image = Some("a b".to_owned()), "--epp-image");
        refused(&|it| it.ab_header = "bad header".to_owned(), "--ab-header");
        refused(&|it| it.max_pending = u32::MAX, "--max-pending-requests");
        let odd = ("a b".to_owned(), "c".to_owned());
        refused(
            &|it| it.node_selector = vec![odd.clone()],
            "--node-selector",
        );
    }
}
