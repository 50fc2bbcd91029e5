//! The other roles of a benchmark's program: launcher, mock and yardstick run as processes of their own, and starting
//! the same file again under another role saves every second binary.
//!
//! `PROGRAM role pin CPU|any FILE ARGS...` binds itself and becomes FILE; `role mock` and `role baseline` serve until
//! they are killed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use crate::baseline;
use crate::mock::{Mock, MockOptions};
use crate::pin;

/// The first argument of a program that is to take a role.
pub const ROLE: &str = "role";

#[derive(Debug, Parser)]
#[command(name = ROLE)]
enum Role {
    /// Binds itself to a CPU and becomes a program.
    Pin {
        /// Number of the CPU, or `any`.
        cpu: String,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Mock model servers on consecutive ports.
    Mock {
        /// Address of the first.
        #[arg(long)]
        listen: SocketAddr,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: u16,
        /// Microseconds to the first token.
        #[arg(long, default_value_t = 0)]
        ttft_us: u64,
        /// Microseconds between tokens.
        #[arg(long, default_value_t = 0)]
        itl_us: u64,
    },
    /// The yardstick proxy.
    Baseline {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where it sends requests, in turn.
        #[arg(long, value_delimiter = ',', required = true)]
        upstreams: Vec<SocketAddr>,
        /// Reads the whole request before it sends it on.
        #[arg(long)]
        buffer: bool,
    },
}

/// Takes the role that the command line of this process names and does not come back before it is played; `Ok(false)`
/// at once when it names none.
pub fn take() -> anyhow::Result<bool> {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_none_or(|first| first != ROLE) {
        return Ok(false);
    }
    match Role::parse_from(args) {
        Role::Pin { cpu, command } => {
            let cpu = match cpu.as_str() {
                "any" => None,
                number => Some(number.parse().context("CPU is a number, or any")?),
            };
            let (program, args) = command.split_first().context("no program named")?;
            let error = pin::become_pinned(cpu, program, args);
            Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
        }
        Role::Mock {
            listen,
            count,
            ttft_us,
            itl_us,
        } => runtime()?.block_on(async {
            let options = MockOptions {
                listen,
                count,
                ttft: Duration::from_micros(ttft_us),
                itl: Duration::from_micros(itl_us),
                ..MockOptions::default()
            };
            Mock::bind(options).await?.run().await;
            Ok(true)
        }),
        Role::Baseline {
            listen,
            upstreams,
            buffer,
        } => runtime()?.block_on(async {
            baseline::run(listen, upstreams, buffer).await?;
            Ok(true)
        }),
    }
}

/// The runtime of all roles: one thread.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
