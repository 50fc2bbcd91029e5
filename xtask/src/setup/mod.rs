//! The counterparts that tests need, one file each, listed once in [`ALL`].

mod chromium;
mod dashes;
mod envoy;
mod go;
mod guidellm;
mod helm;
pub(crate) mod istio;
mod kubernetes;
mod python;

use anyhow::{Context, Result};

use crate::cache::Cache;

/// Something from outside that tests talk to.
pub(crate) struct Counterpart {
    /// Its folder in the cache.
    pub(crate) name: &'static str,
    /// The variable that tells the tests where it is.
    pub(crate) variable: &'static str,
    /// What is put there, for the progress line.
    pub(crate) what: &'static str,
    /// Makes it if it is missing or made from something else; returns the variable's value.
    prepare: fn(&Cache) -> Result<std::path::PathBuf>,
}

/// In the order of preparation. The next ones (Redis) go here.
pub(crate) const ALL: &[Counterpart] = &[
    python::COUNTERPART,
    chromium::COUNTERPART,
    envoy::COUNTERPART,
    helm::COUNTERPART,
    kubernetes::COUNTERPART,
    dashes::COUNTERPART,
    guidellm::COUNTERPART,
];

/// Prepares all of them.
pub(crate) fn all(cache: &Cache) -> Result<()> {
    variables(cache).map(|_| ())
}

/// Prepares all of them and returns the variables for the tests.
pub(crate) fn variables(cache: &Cache) -> Result<Vec<(&'static str, std::path::PathBuf)>> {
    let mut variables = Vec::new();
    for counterpart in ALL {
        let started = std::time::Instant::now();
        let path =
            (counterpart.prepare)(cache).with_context(|| format!("set up {}", counterpart.what))?;
        println!(
            "xtask: {} ready in {:.1} s ({})",
            counterpart.what,
            started.elapsed().as_secs_f64(),
            cache.folder(counterpart.name).display()
        );
        variables.push((counterpart.variable, path));
    }
    Ok(variables)
}
