//! The real Envoy, with a picker behind its ext_proc filter.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use crate::binary::envoy;
use crate::patience::until;
use crate::port;
use crate::process::Process;
use crate::scratch::Scratch;

/// How Envoy passes bodies to the picker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bodies {
    /// Piece by piece, replaced by what the picker sends.
    FullDuplex,
    /// In one piece of at most 4 MiB; answers are not passed.
    Buffered,
    /// Piece by piece, after the head was released.
    Streamed,
    /// Not at all.
    None,
    /// As the lab's own filter has it: the body alone and no heads; where the picker fails, it goes on without.
    Headless,
}

/// An Envoy that forwards to whatever endpoint the picker's header names.
pub struct Envoy {
    /// The child.
    pub process: Process,
    /// Where clients go.
    pub address: SocketAddr,
    _files: Scratch,
}

impl Envoy {
    /// One that asks the picker at `picker`.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn before(picker: SocketAddr, bodies: Bodies) -> Self {
        Self::configured(&[picker], bodies, "", BY_HEADER)
    }

    /// One that asks any of several pickers, looks at their health on the ext_proc port, and leaves one alone to which it could
    /// not connect.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn before_several(pickers: &[SocketAddr], bodies: Bodies) -> Self {
        Self::configured(pickers, bodies, LOOKED_AFTER, BY_HEADER)
    }

    /// One whose load balancer follows the picker's metadata, and knows these endpoints.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn by_metadata(picker: SocketAddr, bodies: Bodies, endpoints: &[SocketAddr]) -> Self {
        let pool = with_endpoints(BY_METADATA, endpoints);
        Self::configured(&[picker], bodies, "", &pool)
    }

    /// One that asks the picker and takes turns among these endpoints, whatever the picker says.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn by_turns(picker: SocketAddr, bodies: Bodies, endpoints: &[SocketAddr]) -> Self {
        let pool = with_endpoints(BY_TURNS, endpoints);
        Self::configured(&[picker], bodies, "", &pool)
    }

    /// One that asks the picker at `picker` over TLS without looking at its certificate.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn before_with_tls(picker: SocketAddr, bodies: Bodies) -> Self {
        Self::greeting(picker, bodies, "", "TLS_AUTO")
    }

    /// The same; it greets the picker by this server's name, and speaks no newer TLS than this (`TLSv1_2`).
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn greeting(picker: SocketAddr, bodies: Bodies, name: &str, newest: &str) -> Self {
        let tls = format!(
            "
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: \"{name}\"
        common_tls_context: {{alpn_protocols: [h2], tls_params: {{tls_maximum_protocol_version: {newest}}}}}"
        );
        Self::configured(&[picker], bodies, &tls, BY_HEADER)
    }

    #[track_caller]
    fn configured(pickers: &[SocketAddr], bodies: Bodies, epp: &str, pool: &str) -> Self {
        let files = Scratch::new("envoy");
        for _ in 0..4 {
            let address = port::free();
            let config = config(address, pickers, bodies, epp, pool);
            let path = files.file("envoy.yaml", &config);
            let mut command = Command::new(envoy());
            command.args(["--config-path", &path, "--disable-hot-restart"]);
            command.args(["--concurrency", "1", "--log-level", "warning"]);
            let mut process = Process::start("envoy", command);
            let listens = until(&format!("envoy to listen at {address}"), || {
                if process.ended().is_some() {
                    return Some(false);
                }
                TcpStream::connect(address).is_ok().then_some(true)
            });
            if listens {
                return Self {
                    process,
                    address,
                    _files: files,
                };
            }
            process.wait_end();
            let lines = process.lines().join("\n");
            assert!(lines.contains("in use"), "envoy ended:\n{lines}");
        }
        panic!("envoy found no free port");
    }
}

/// Pickers of which one may be gone: the first connection that fails puts it out, and its health keeps it out. (A busy machine may answer
/// a question about health late; were that a failure, nobody would be healthy, and Envoy would ask the dead one too.)
const LOOKED_AFTER: &str = "
    lb_policy: ROUND_ROBIN
    outlier_detection:
      split_external_local_origin_errors: true
      consecutive_local_origin_failure: 1
      enforcing_consecutive_local_origin_failure: 100
      enforcing_local_origin_success_rate: 0
      max_ejection_percent: 50
      base_ejection_time: 300s
    health_checks:
    - timeout: 60s
      interval: 0.2s
      unhealthy_threshold: 1
      healthy_threshold: 1
      grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}";

/// The picker's cluster. Envoy makes the authority of its calls of it; Istio's names have bars, which no authority may have.
const PICKER: &str = "outbound|9002||epp.pool.svc.cluster.local";

/// A pool whose endpoint is named by the picker's header.
const BY_HEADER: &str = "
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
";

/// A pool whose endpoint is named by the picker's metadata; its endpoints follow.
const BY_METADATA: &str = "
    type: STATIC
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: envoy.load_balancing_policies.override_host
          typed_config:
            \"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
            override_host_sources: [{metadata: {key: envoy.lb, path: [{key: x-gateway-destination-endpoint}]}}]
            fallback_policy:
              policies:
              - typed_extension_config:
                  name: envoy.load_balancing_policies.round_robin
                  typed_config:
                    \"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin
    load_assignment:
      cluster_name: pool
      endpoints:
      - lb_endpoints:
";

/// A pool that takes turns; its endpoints follow.
const BY_TURNS: &str = "
    type: STATIC
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: pool
      endpoints:
      - lb_endpoints:
";

fn with_endpoints(pool: &str, endpoints: &[SocketAddr]) -> String {
    let mut pool = pool.to_owned();
    for at in endpoints {
        pool.push_str(&format!(
            "        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n",
            at.ip(),
            at.port()
        ));
    }
    pool
}

fn config(
    address: SocketAddr,
    pickers: &[SocketAddr],
    bodies: Bodies,
    epp: &str,
    pool: &str,
) -> String {
    let mut asked = String::new();
    for at in pickers {
        asked.push_str(&format!(
            "        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n",
            at.ip(),
            at.port()
        ));
    }
    let (request, response, trailers) = match bodies {
        Bodies::FullDuplex => ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED", "SEND"),
        Bodies::Buffered | Bodies::Headless => ("BUFFERED", "NONE", "SKIP"),
        Bodies::Streamed => ("STREAMED", "STREAMED", "SKIP"),
        Bodies::None => ("NONE", "NONE", "SKIP"),
    };
    let (heads, allow) = match bodies {
        Bodies::Headless => ("SKIP", true),
        _ => ("SEND", false),
    };
    format!(
        "
static_resources:
  listeners:
  - name: in
    per_connection_buffer_limit_bytes: 4194304
    address: {{socket_address: {{address: {}, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: AUTO
          http_protocol_options: {{enable_trailers: true}}
          route_config:
            name: r
            virtual_hosts:
            - name: v
              domains: [\"*\"]
              routes:
              - match: {{prefix: \"/\"}}
                route: {{cluster: pool, timeout: 0s, idle_timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.ext_proc
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {{envoy_grpc: {{cluster_name: \"{PICKER}\"}}, timeout: 10s}}
              message_timeout: 1000s
              metadata_options: {{receiving_namespaces: {{untyped: [envoy.lb]}}, forwarding_namespaces: {{untyped: [envoy.lb, envoy.lb.subset_hint]}}}}
              failure_mode_allow: {allow}
              processing_mode: {{request_header_mode: {heads}, response_header_mode: {heads}, request_body_mode: {request}, response_body_mode: {response}, request_trailer_mode: {trailers}, response_trailer_mode: {trailers}}}
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: pool
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}{pool}  - name: \"{PICKER}\"
    type: STATIC
    connect_timeout: 5s{epp}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: \"{PICKER}\"
      endpoints:
      - lb_endpoints:
{asked}",
        address.ip(),
        address.port(),
    )
}
