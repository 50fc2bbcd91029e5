//! `pointsman proxy`: a P/D proxy in front of prefill and decode servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use pointsman_core::config::duration::parse_duration;
use pointsman_http::{FaultSwitch, ServerOptions};
use pointsman_serve::door::proxy::config::{
    BOOTSTRAP_PORT, EngineAddress, OnPrefillFailure, ProxyConfig, ProxyKind, default_name,
};
use pointsman_serve::door::proxy::{Proxy, serve_proxy};
use pointsman_serve::readiness::Readiness;

use crate::console::{complain, say};
use crate::serving::{
    Worker, connection_budget, listen, raise_file_limit, run_until_signal, runtime, stages,
};
use crate::traces;

const EXAMPLES: &str = "\
Examples:
  pointsman proxy --kind fs --prefill http://vllm-prefill-fs:8000 --decode http://vllm-decode-fs:8000
  PREFILL_URL=http://p:8000 DECODE_URL=http://d:8000 PREFILL_ZMQ=p:14579 DECODE_ZMQ=d:14579 pointsman proxy --kind p2p
  pointsman proxy --kv-connector nixlv2 --prefill http://p1:8000,http://p2:8000 --decode http://localhost:8200
  pointsman proxy --kv-connector sglang --prefill http://p:8000 --decode http://d:8000 --bootstrap-port 8998
  pointsman proxy --kind fs --prefill http://p:8000 --decode http://d:8000 --on-prefill-failure error --prefill-timeout 10s

A request may set its own bound of the prefill stage: x-pointsman-prefill-timeout-ms: 5000
An answer whose prompt decode computed itself says why: x-pointsman-prefill-fallback: timeout";

/// How the pair moves its KV cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// GPU to GPU; ids carry host:port of the KV channel.
    P2p,
    /// Through a shared file system; ids carry the servers' names.
    Fs,
}

/// What the servers speak, where ids do not say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum KvConnector {
    /// vLLM's NixlConnector: kv_transfer_params go from the prefill answer to the decode request.
    #[value(name = "nixlv2")]
    NixlV2,
    /// A shared store; requests with cache_hit_threshold go to decode first.
    SharedStorage,
    /// SGLang: both servers are asked at the same time and told where to meet.
    Sglang,
    /// LMCache: prefill fills the store, decode finds it by content.
    Lmcache,
}

/// What happens to a request when no prefill server did its part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Without {
    /// The decode server computes the prompt itself.
    Local,
    /// The client gets 502 or 504.
    Error,
}

/// Flags of `pointsman proxy`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", default_value = ":8080", value_parser = listen_address)]
    listen: SocketAddr,
    /// How the pair moves its KV cache [default: fs].
    #[arg(long, value_enum, conflicts_with = "kv_connector")]
    kind: Option<Kind>,
    /// What the servers speak, instead of --kind.
    #[arg(long, value_enum, alias = "connector")]
    kv_connector: Option<KvConnector>,
    /// The servers that prefill, http://host:port; of several each begins in turn and is followed by the next when it fails.
    #[arg(
        long,
        value_name = "URL",
        env = "PREFILL_URL",
        required = true,
        value_delimiter = ','
    )]
    prefill: Vec<String>,
    /// The servers that decode, http://host:port; of several each begins in turn, and one that cannot be reached is followed by one other.
    #[arg(
        long,
        value_name = "URL",
        env = "DECODE_URL",
        required = true,
        value_delimiter = ','
    )]
    decode: Vec<String>,
    /// The prefill servers' names in request ids [default: hosts of their URLs, for p2p with the KV port].
    #[arg(long, value_name = "NAME", env = "PREFILL_ZMQ", value_delimiter = ',')]
    prefill_name: Vec<String>,
    /// The decode servers' names in request ids [default: hosts of their URLs, for p2p with the KV port].
    #[arg(long, value_name = "NAME", env = "DECODE_ZMQ", value_delimiter = ',')]
    decode_name: Vec<String>,
    /// What happens when no prefill server did its part [default: local; error for sglang].
    #[arg(long, value_enum)]
    on_prefill_failure: Option<Without>,
    /// Largest request body in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    max_body: usize,
    /// Longest time for the prefill stage of a request, all its servers together; a number means seconds.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    prefill_timeout: Duration,
    /// The most that a request may ask for instead, by x-pointsman-prefill-timeout-ms.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    max_prefill_timeout: Duration,
    /// Longest wait for the head of the decode server's answer.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    first_byte_timeout: Duration,
    /// Longest pause within an answer.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time)]
    idle_timeout: Duration,
    /// How long a prefill server keeps a KV cache that nobody has fetched; 0 means for ever [default: 30s for nixlv2].
    #[arg(long, value_name = "TIME", value_parser = time)]
    kv_lease: Option<Duration>,
    /// Port of the prefill servers' bootstrap server, for sglang.
    #[arg(long, value_name = "PORT", default_value_t = BOOTSTRAP_PORT)]
    bootstrap_port: u16,
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

/// Takes `30` as seconds, and `500ms`, `30s`, `5m`.
fn time(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    parse_duration(text).map(|span| Duration::from_nanos(span.0))
}

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    let traces = traces::tracer_called("pointsman-proxy")?;
    let config = ProxyConfig {
        tracer: traces.as_ref().map(|traces| Arc::clone(&traces.tracer)),
        ..config(&args)?
    };
    // A wrong URL is found before anything is started.
    Proxy::new(config.clone(), FaultSwitch::default()).context("cannot start the proxy")?;
    let bound = listen(args.listen, "proxy", "--listen HOST:PORT")?;
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
        let list = |urls: &[String], first: &str, more: &[EngineAddress]| {
            let names = std::iter::once(first).chain(more.iter().map(|e| e.name.as_str()));
            let all = urls.iter().zip(names);
            let all: Vec<_> = all.map(|(url, name)| format!("{url} ({name})")).collect();
            all.join(", ")
        };
        say(&format!(
            "proxy http://{shown}: {}, prefill {}, decode {}\n",
            config.kind.name(),
            list(&args.prefill, &config.prefill_name, &config.more_prefills),
            list(&args.decode, &config.decode_name, &config.more_decodes),
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
    runtime()?.block_on(async {
        if let Some(traces) = traces {
            traces.bring_away();
        }
        let ready = Readiness::default();
        run_until_signal(stages, ready, workers, Vec::new(), tell).await
    })
}

fn config(args: &Args) -> anyhow::Result<ProxyConfig> {
    let kind = match (args.kv_connector, args.kind) {
        (Some(KvConnector::NixlV2), _) => ProxyKind::NixlV2,
        (Some(KvConnector::SharedStorage), _) => ProxyKind::SharedStorage,
        (Some(KvConnector::Sglang), _) => ProxyKind::Sglang,
        (Some(KvConnector::Lmcache), _) => ProxyKind::Lmcache,
        (None, Some(Kind::P2p)) => ProxyKind::P2p,
        (None, Some(Kind::Fs) | None) => ProxyKind::Fs,
    };
    let prefills = engines(kind, "prefill", &args.prefill, &args.prefill_name)?;
    let decodes = engines(kind, "decode", &args.decode, &args.decode_name)?;
    let (Some((prefill, prefills)), Some((decode, decodes))) =
        (prefills.split_first(), decodes.split_first())
    else {
        bail!("a proxy needs --prefill URL and --decode URL");
    };
    let mut config = ProxyConfig::new(kind, &prefill.url, &decode.url);
    config.prefill_name.clone_from(&prefill.name);
    config.decode_name.clone_from(&decode.name);
    config.more_prefills = prefills.to_vec();
    config.more_decodes = decodes.to_vec();
    match args.on_prefill_failure {
        Some(Without::Local) => config.on_prefill_failure = OnPrefillFailure::Local,
        Some(Without::Error) => config.on_prefill_failure = OnPrefillFailure::Error,
        None => {}
    }
    for (flag, time) in [
        ("--prefill-timeout", args.prefill_timeout),
        ("--first-byte-timeout", args.first_byte_timeout),
        ("--idle-timeout", args.idle_timeout),
    ] {
        if time.is_zero() {
            bail!("{flag} is 0, so that nothing could be answered; give a time such as 30s");
        }
    }
    config.max_body = args.max_body;
    config.prefill_timeout = args.prefill_timeout;
    config.max_prefill_timeout = args.max_prefill_timeout.max(args.prefill_timeout);
    config.first_byte_timeout = args.first_byte_timeout;
    config.stall_timeout = args.idle_timeout;
    if let Some(lease) = args.kv_lease {
        config.kv_lease = Some(lease).filter(|lease| !lease.is_zero());
    }
    config.bootstrap_port = args.bootstrap_port;
    if !args.quiet {
        config.on_warning = Some(Arc::new(|line: &str| {
            complain(&format!("warning: {line}\n"))
        }));
    }
    Ok(config)
}

/// The servers of one stage with their names.
fn engines(
    kind: ProxyKind,
    stage: &str,
    urls: &[String],
    names: &[String],
) -> anyhow::Result<Vec<EngineAddress>> {
    if !names.is_empty() && names.len() != urls.len() {
        bail!(
            "--{stage} has {} and --{stage}-name {}; give one name per server, or none",
            urls.len(),
            names.len()
        );
    }
    let name = |at: usize, url: &str| match names.get(at) {
        Some(name) => name.clone(),
        None => default_name(kind, url),
    };
    let engine = |(at, url): (usize, &String)| EngineAddress {
        url: url.clone(),
        name: name(at, url),
    };
    Ok(urls.iter().enumerate().map(engine).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(flags: &str) -> anyhow::Result<ProxyConfig> {
        let words = std::iter::once("proxy").chain(flags.split_whitespace());
        config(&Line::try_parse_from(words)?.args)
    }

    const PAIR: &str = "--prefill http://p:8000 --decode http://d:8000";

    #[test]
    fn the_connector_chooses_the_dialect() {
        for (flags, kind) in [
            ("", ProxyKind::Fs),
            ("--kind fs", ProxyKind::Fs),
            ("--kind p2p", ProxyKind::P2p),
            ("--kv-connector nixlv2", ProxyKind::NixlV2),
            ("--connector lmcache", ProxyKind::Lmcache),
            ("--kv-connector=shared-storage", ProxyKind::SharedStorage),
            ("--connector=sglang", ProxyKind::Sglang),
        ] {
            let config = read(&format!("{PAIR} {flags}")).unwrap();
            assert_eq!(config.kind, kind, "{flags}");
        }
        assert!(read(&format!("{PAIR} --kind p2p --kv-connector nixlv2")).is_err());
        assert!(read("--prefill http://p:8000").is_err());
    }

    #[test]
    fn several_servers_have_names_each_or_none() {
        let two = "--prefill http://a:1,http://b:2 --decode http://d:8000 --kind p2p";
        let config = read(two).unwrap();
        assert_eq!(config.prefill_name, "a:14579");
        assert_eq!(config.more_prefills[0].name, "b:14579");
        let named = read(&format!("{two} --prefill-name x,y")).unwrap();
        assert_eq!(named.more_prefills[0].name, "y");
        let error = read(&format!("{two} --prefill-name x")).unwrap_err();
        assert!(error.to_string().contains("one name per server"), "{error}");
    }

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        let config = read(&format!(
            "{PAIR} --prefill-timeout 3 --first-byte-timeout 1500ms --kv-lease 20s"
        ))
        .unwrap();
        assert_eq!(config.prefill_timeout, Duration::from_secs(3));
        assert_eq!(config.first_byte_timeout, Duration::from_millis(1500));
        assert_eq!(config.kv_lease, Some(Duration::from_secs(20)));
        let nixl = read(&format!("{PAIR} --kv-connector nixlv2")).unwrap();
        assert_eq!(nixl.kv_lease, Some(Duration::from_secs(30)));
        let ever = read(&format!("{PAIR} --kv-connector nixlv2 --kv-lease 0")).unwrap();
        assert_eq!(ever.kv_lease, None);
        assert!(read(&format!("{PAIR} --prefill-timeout soon")).is_err());
        assert!(read(&format!("{PAIR} --prefill-timeout 0")).is_err());
    }
}
