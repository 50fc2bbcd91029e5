//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pointsman_serve::record::log::{Log, Style};
use pointsman_serve::record::sink::Sink;

/// How request lines look.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum LogStyle {
    /// One calm line per request.
    Pretty,
    /// The decision log as JSON lines.
    Json,
}

/// Where and how to log.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// How lines look on the standard output.
    #[arg(long, value_enum, default_value = "pretty")]
    pub(crate) log: LogStyle,
    /// Also write the decision log as JSON lines to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Write nothing but errors.
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl LogArgs {
    /// Opens the destinations.
    pub(crate) fn open(&self, verbosity: u8) -> anyhow::Result<Log> {
        let style = match self.log {
            LogStyle::Pretty => Style::Pretty,
            LogStyle::Json => Style::Json,
        };
        let terminal = match self.quiet {
            true => None,
            false => Some((Sink::start(Box::new(std::io::stdout()))?, style)),
        };
        let file = match &self.log_file {
            None => None,
            Some(path) => {
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path);
                let file = file.map_err(|e| {
                    anyhow::anyhow!("cannot write the log file {}: {e}", path.display())
                })?;
                Some(Sink::start(Box::new(file))?)
            }
        };
        Ok(Log::new(terminal, file, verbosity))
    }
}
