//! What the picker adds to a request through a real Envoy: the same Envoy once with round robin, once with the picker.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use pointsman_bench::children::{Child, Launch};
use pointsman_bench::load::{Edge, Outcome, Pacing, Plan, run};
use pointsman_bench::report::{Spread, Table};
use pointsman_bench::resources::{Spent, Watch};

use crate::field::Field;
use crate::scenarios::SCENARIOS;

/// Longest time until Envoy answers.
const READY: Duration = Duration::from_secs(20);

/// What one load through one Envoy found.
struct Sample {
    load: &'static str,
    peer: &'static str,
    outcome: Outcome,
    /// Of Envoy and, where there is one, of the picker.
    spent: Vec<Spent>,
}

/// Runs both, round after round, and tells what they cost.
pub(crate) async fn compare(
    field: &Field,
    envoy: &Path,
    rounds: usize,
    window: Duration,
) -> anyhow::Result<Table> {
    let closed = Pacing::Closed { connections: 32 };
    let open = Pacing::Open {
        rate: 100.0,
        connections: 64,
    };
    let mut samples = Vec::new();
    for _ in 0..rounds {
        for (load, pacing) in [
            ("200 B, 32 connections", &closed),
            ("200 B, 100 per second", &open),
        ] {
            for peer in ["round robin", "pointsman epp"] {
                let sample = once(field, envoy, window, (load, peer), pacing).await;
                samples.push(sample.with_context(|| format!("{load}, {peer}"))?);
            }
        }
    }
    Ok(table(&samples))
}

async fn once(
    field: &Field,
    envoy: &Path,
    window: Duration,
    (load, peer): (&'static str, &'static str),
    pacing: &Pacing,
) -> anyhow::Result<Sample> {
    let with_picker = peer != "round robin";
    let picker = with_picker
        .then(|| Child::start(&field.launch(&SCENARIOS[0])?))
        .transpose()?;
    let config = field.write("envoy.yaml", &config(field, with_picker))?;
    let mut launch = Launch::new(
        "envoy",
        envoy,
        [
            "--config-path",
            &config.display().to_string(),
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "error",
        ],
    );
    launch.cpu = Some(field.sut_cpu);
    let mut child = Child::start(&launch)?;
    child.ready(field.front, "bench-model", READY).await?;
    let pids: Vec<u32> = [Some(child.pid()), picker.as_ref().map(Child::pid)]
        .into_iter()
        .flatten()
        .collect();
    let (mut watches, mut spent) = (Vec::new(), Vec::new());
    let plan = Plan::new(field.front, pacing.clone(), window);
    let outcome = run(&plan, |edge| match edge {
        Edge::Begin => watches = pids.iter().map(|pid| Watch::begin(*pid)).collect(),
        Edge::End => {
            let ended = watches.iter().flatten().map(Watch::end);
            spent = ended.collect::<Result<Vec<Spent>, _>>().unwrap_or_default();
        }
    })
    .await?;
    anyhow::ensure!(
        spent.len() == pids.len() && outcome.answers > 0,
        "no figures; errors: {:?}\n{}",
        outcome.errors,
        child.said()
    );
    Ok(Sample {
        load,
        peer,
        outcome,
        spent,
    })
}

fn table(samples: &[Sample]) -> Table {
    let mut table = Table::new([
        "load",
        "Envoy with",
        "CPU µs of both",
        "of the picker",
        "answers/s",
        "TTFT p50 ms",
        "p99 ms",
        "failed",
    ]);
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for sample in samples {
        if !rows.contains(&(sample.load, sample.peer)) {
            rows.push((sample.load, sample.peer));
        }
    }
    for (load, peer) in rows {
        let mine = || {
            samples
                .iter()
                .filter(move |sample| (sample.load, sample.peer) == (load, peer))
        };
        let figure = |figure: fn(&Sample) -> f64| {
            Spread::of(mine().map(figure)).map_or_else(String::new, |spread| spread.to_string())
        };
        let micros = |sample: &Sample, skip: usize| {
            let nanos: u64 = sample.spent.iter().skip(skip).map(|s| s.cpu_nanos).sum();
            nanos as f64 / 1e3 / sample.outcome.answers as f64
        };
        let spread = |skip: usize| {
            Spread::of(mine().map(|sample| micros(sample, skip)))
                .map_or_else(String::new, |spread| spread.to_string())
        };
        table.row([
            load.to_owned(),
            peer.to_owned(),
            spread(0),
            spread(1),
            figure(|sample| sample.outcome.rate),
            figure(|sample| sample.outcome.ttft.p50 / 1e3),
            figure(|sample| sample.outcome.ttft.p99 / 1e3),
            figure(|sample| sample.outcome.failures() as f64),
        ]);
    }
    table
}

/// Envoy before the mocks; with the picker, the endpoint is whom it names.
fn config(field: &Field, with_picker: bool) -> String {
    let endpoint = |address: &std::net::SocketAddr| {
        format!(
            "        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n",
            address.ip(),
            address.port()
        )
    };
    let (filter, pool) = if with_picker {
        (
            "          - name: envoy.filters.http.ext_proc
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: epp}, timeout: 10s}
              message_timeout: 1000s
              processing_mode: {request_header_mode: SEND, response_header_mode: SEND, request_body_mode: FULL_DUPLEX_STREAMED, response_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, response_trailer_mode: SEND}
",
            "    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
"
            .to_owned(),
        )
    } else {
        let mocks: String = field.mocks.iter().map(endpoint).collect();
        let pool = format!(
            "    type: STATIC\n    load_assignment:\n      cluster_name: pool\n      endpoints:\n      - lb_endpoints:\n{mocks}"
        );
        ("", pool)
    };
    let (front, epp) = (field.front.port(), endpoint(&field.listen));
    format!(
        "static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {front}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: AUTO
          route_config:
            name: r
            virtual_hosts:
            - name: v
              domains: [\"*\"]
              routes:
              - match: {{prefix: \"/\"}}
                route: {{cluster: pool, timeout: 0s}}
          http_filters:
{filter}          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: pool
    connect_timeout: 5s
{pool}  - name: epp
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: epp
      endpoints:
      - lb_endpoints:
{epp}"
    )
}
