//! `pointsman proxy`: a P/D proxy in front of one prefill and one decode server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use pointsman_http::{FaultSwitch, ServerOptions};
use pointsman_serve::door::proxy::config::{ProxyConfig, ProxyKind};
use pointsman_serve::door::proxy::{Proxy, serve_proxy};

use crate::console::{complain, say};
use crate::serving::{
    Worker, connection_budget, listen, raise_file_limit, run_until_signal, runtime, stages,
};

const EXAMPLES: &str = "\
Examples:
  pointsman proxy --kind fs --prefill http://vllm-prefill-fs:8000 --decode http://vllm-decode-fs:8000
  PREFILL_URL=http://p:8000 DECODE_URL=http://d:8000 PREFILL_ZMQ=p:14579 DECODE_ZMQ=d:14579 pointsman proxy --kind p2p";

/// How the pair moves its KV cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// GPU to GPU; ids carry host:port of the KV channel.
    P2p,
    /// Through a shared file system; ids carry the servers' names.
    Fs,
}

/// Flags of `pointsman proxy`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", default_value = ":8080", value_parser = listen_address)]
    listen: SocketAddr,
    /// How the pair moves its KV cache.
    #[arg(long, value_enum, default_value = "fs")]
    kind: Kind,
    /// The server that prefills, http://host:port.
    #[arg(long, value_name = "URL", env = "PREFILL_URL")]
    prefill: String,
    /// The server that decodes, http://host:port.
    #[arg(long, value_name = "URL", env = "DECODE_URL")]
    decode: String,
    /// The prefill server's name in request ids [default: host of its URL, for p2p with the KV port].
    #[arg(long, value_name = "NAME", env = "PREFILL_ZMQ")]
    prefill_name: Option<String>,
    /// The decode server's name in request ids [default: host of its URL, for p2p with the KV port].
    #[arg(long, value_name = "NAME", env = "DECODE_ZMQ")]
    decode_name: Option<String>,
    /// Largest request body in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    max_body: usize,
    /// Longest time for the prefill leg, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    prefill_timeout: u64,
    /// Longest wait for the head of the decode server's answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    first_byte_timeout: u64,
    /// Worker threads; 0 means one per CPU.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Write nothing but errors.
    #[arg(long)]
    quiet: bool,
}

/// Takes `:8080` as every address of this host.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| format!("'{text}' is no address; use HOST:PORT or :PORT"))
}

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    let config = config(&args);
    // A wrong URL is found before anything is started.
    Proxy::new(config.clone(), FaultSwitch::default()).context("cannot start the proxy")?;
    let bound = listen(args.listen, "proxy", "--listen")?;
    let shown = bound.local_addr();
    let count = match args.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let (stages, drain, _rest) = stages();
    let options = ServerOptions {
        max_connections: (connection_budget(3) / count).max(4),
        ..ServerOptions::default()
    };
    let options = Arc::new(options);
    let workers = (0..count)
        .map(|number| {
            let (bound, options, drain) = (bound.try_clone()?, Arc::clone(&options), drain.clone());
            let config = ProxyConfig {
                seed: config.seed.wrapping_add(number as u64),
                ..config.clone()
            };
            Worker::start(&format!("proxy-{number}"), async move || {
                if let Err(error) =
                    serve_proxy(bound, config, options, FaultSwitch::default(), drain).await
                {
                    complain(&format!("error: {error}\n"));
                }
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    drop(bound);
    let quiet = args.quiet;
    if !quiet {
        say(&format!(
            "proxy http://{shown}: prefill {} ({}), decode {} ({})\n",
            config.prefill_url, config.prefill_name, config.decode_url, config.decode_name
        ));
    }
    if workers.is_empty() {
        bail!("no worker could be started");
    }
    let tell = move |text: &str| {
        if !quiet {
            say(&format!("{text}\n"));
        }
    };
    runtime()?.block_on(run_until_signal(
        stages,
        Arc::default(),
        workers,
        Vec::new(),
        tell,
    ))
}

fn config(args: &Args) -> ProxyConfig {
    let kind = match args.kind {
        Kind::P2p => ProxyKind::P2p,
        Kind::Fs => ProxyKind::Fs,
    };
    let mut config = ProxyConfig::new(kind, &args.prefill, &args.decode);
    config.prefill_name = args.prefill_name.clone().unwrap_or(config.prefill_name);
    config.decode_name = args.decode_name.clone().unwrap_or(config.decode_name);
    config.max_body = args.max_body;
    config.prefill_timeout = Duration::from_secs(args.prefill_timeout);
    config.first_byte_timeout = Duration::from_secs(args.first_byte_timeout);
    if !args.quiet {
        config.on_warning = Some(Arc::new(|line: &str| {
            complain(&format!("warning: {line}\n"))
        }));
    }
    config
}
