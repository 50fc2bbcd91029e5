//! The flags of `pointsman epp`: those of both generations of the reference, and a few of our own.
//!
//! Values are read as the reference reads them: booleans need a `=`, times are Go's, sizes are Kubernetes quantities. A
//! flag that makes no difference here is taken and says so in its help.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ValueEnum};
use pointsman_serve::door::extproc::settings::ErrorFormat;

use crate::commands::epp::metric_names::MetricNames;
use crate::commands::epp::values::{boolean, size, time};
use crate::planning::Rules;

const EXAMPLES: &str = "\
Examples:
  pointsman epp --pool-name my-pool --config-file epp.yaml --secure-serving=false
  pointsman epp --config-file epp.yaml --endpoints pool.yaml -v 1 --zap-encoder json
  pointsman epp --config-file epp.yaml --grpc-port 9002 --grpc-health-port 9003 --metrics-port 9090

Endpoints come from Kubernetes (--pool-name or --endpoint-selector), or from a file: dataLayer.discovery in the
configuration, or --endpoints FILE.
Flags are those of the reference, with one dash or two, so its manifests start this binary unchanged.";

/// Flags of `pointsman epp`.
#[derive(clap::Args, Debug)]
// Of a flag that is given twice the last one counts, as in the reference.
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct Args {
    /// Address that all ports listen on.
    #[arg(
        long,
        value_name = "IP",
        default_value = "0.0.0.0",
        help_heading = "Ports"
    )]
    pub(crate) bind: IpAddr,
    /// Port of ext_proc, which the gateway asks.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 9002,
        help_heading = "Ports"
    )]
    pub(crate) grpc_port: u16,
    /// Port of the health service, without TLS.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 9003,
        help_heading = "Ports"
    )]
    pub(crate) grpc_health_port: u16,
    /// Port of metrics, health and decisions over HTTP.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 9090,
        help_heading = "Ports"
    )]
    pub(crate) metrics_port: u16,

    /// Name of the InferencePool.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Pool"
    )]
    pub(crate) pool_name: String,
    /// Its namespace; that in NAMESPACE, or `default`, where it is empty.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Pool"
    )]
    pub(crate) pool_namespace: String,
    /// Its API group.
    #[arg(
        long,
        value_name = "GROUP",
        default_value = "inference.networking.k8s.io",
        help_heading = "Pool"
    )]
    pub(crate) pool_group: String,
    /// Labels of the pods, instead of a pool.
    #[arg(
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true,
        help_heading = "Pool"
    )]
    pub(crate) endpoint_selector: String,
    /// Ports of those pods, 1 to 8.
    #[arg(
        long,
        value_name = "PORT",
        value_delimiter = ',',
        help_heading = "Pool"
    )]
    pub(crate) endpoint_target_ports: Vec<u16>,
    /// Where the API server is; by default KUBECONFIG, ~/.kube/config, or the service account of the pod.
    #[arg(long, value_name = "FILE", help_heading = "Pool")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// This process's own pod: its name in the lease and, with --endpoint-selector, the pool's; POD_NAME when left out.
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) pod_name: Option<String>,
    /// The endpoints as a file, instead of the configuration's dataLayer.discovery; read again when it changes.
    #[arg(long, value_name = "FILE", help_heading = "Pool")]
    pub(crate) endpoints: Option<PathBuf>,
    /// Pick from the whole pool, whatever the gateway says.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Pool")]
    pub(crate) disable_endpoint_subset_filter: bool,

    /// Scheduling configuration (EndpointPickerConfig); read again when it changes.
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config_file: Option<PathBuf>,
    /// The same as text.
    #[arg(
        long,
        value_name = "YAML",
        default_value = "",
        hide_default_value = true,
        help_heading = "Configuration"
    )]
    pub(crate) config_text: String,
    /// Whose rules apply: those of the reference's first or second generation, or what the configuration shows.
    #[arg(
        long,
        value_enum,
        value_name = "RULES",
        default_value = "auto",
        help_heading = "Configuration"
    )]
    pub(crate) compat: Rules,
    /// Take plugins that the reference calls experimental without a warning.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Configuration")]
    pub(crate) allow_experimental_plugins: bool,

    /// How requests are refused: in the reference's words, or with an OpenAI error object.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "reference",
        help_heading = "Answers"
    )]
    pub(crate) error_format: Errors,
    /// Tell the gateway the candidates' scores as metadata.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Answers")]
    pub(crate) emit_endpoint_scores: bool,
    /// Largest request body.
    #[arg(long, value_name = "SIZE", default_value = "32Mi", value_parser = size, help_heading = "Answers")]
    pub(crate) max_body: i64,
    /// Largest message that is taken from the gateway; 0 means 4 MiB.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size, allow_hyphen_values = true, help_heading = "Answers")]
    pub(crate) grpc_max_recv_msg_size: i64,
    /// Largest message that is sent; messages are never larger than 64 KiB or the body that came.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size, allow_hyphen_values = true, help_heading = "Answers")]
    pub(crate) grpc_max_send_msg_size: i64,

    /// Speak TLS on the ext_proc port, with a certificate made at the start unless --cert-path names one.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "TLS")]
    pub(crate) secure_serving: bool,
    /// Authorities of clients, as PEM: the ext_proc port takes only who has a certificate of theirs.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Only clients whose certificate names one of these URIs (SPIFFE ids); one that ends with /* stands for all below it.
    #[arg(
        long,
        value_name = "URI,…",
        value_delimiter = ',',
        help_heading = "TLS"
    )]
    pub(crate) tls_client_ids: Vec<String>,
    /// Folder with tls.crt and tls.key.
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "",
        hide_default_value = true,
        help_heading = "TLS"
    )]
    pub(crate) cert_path: String,
    /// Read the certificate again when it changes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "TLS")]
    pub(crate) enable_cert_reload: bool,
    /// Oldest TLS that is spoken: VersionTLS12 or VersionTLS13 (older ones are taken as VersionTLS12).
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "",
        hide_default_value = true,
        help_heading = "TLS"
    )]
    pub(crate) tls_min_version: String,
    /// Taken and ignored: the suites are those that are safe.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "TLS")]
    pub(crate) tls_cipher_suites: Vec<String>,

    /// Time between two readings of an endpoint's metrics, at least 50ms.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = time, help_heading = "Metrics")]
    pub(crate) refresh_metrics_interval: Duration,
    /// Taken: the pool's metrics are worked out whenever they are read.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time, help_heading = "Metrics")]
    pub(crate) refresh_prometheus_metrics_interval: Duration,
    /// Readings that are older do not count in the pool's metrics; the configuration's `staleness` is for decisions.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time, help_heading = "Metrics")]
    pub(crate) metrics_staleness_threshold: Duration,
    #[command(flatten)]
    pub(crate) metric_names: MetricNames,
    /// Ask the API server, by the token that a reader shows, who may read the metrics port (get /metrics); without effect
    /// where endpoints come from a file [default: true where the picker's account may ask]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Metrics")]
    pub(crate) metrics_endpoint_auth: Option<bool>,
    /// Folder with tls.crt and tls.key of the metrics port, which speaks TLS then; followed.
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "",
        hide_default_value = true,
        help_heading = "Metrics"
    )]
    pub(crate) metrics_cert_dir: String,
    /// Authorities whose clients the metrics port takes; with --metrics-cert-dir.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Metrics"
    )]
    pub(crate) metrics_client_ca_file: String,
    /// Count and time the streams that gateways open.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Metrics")]
    pub(crate) enable_grpc_stream_metrics: bool,

    /// Have the health service on the ext_proc port too.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Process")]
    pub(crate) health_checking: bool,
    /// How long the first SIGTERM leaves gateways to go elsewhere; shorter when no stream is open any more.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time, help_heading = "Process")]
    pub(crate) drain_timeout: Duration,
    /// Worker threads; 0 means one per CPU.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Process")]
    pub(crate) workers: usize,
    /// Seed of all random choices; drawn from the system when left out.
    #[arg(long, value_name = "N", help_heading = "Process")]
    pub(crate) seed: Option<u64>,
    /// Elect a leader by a lease: only the leader is ready; standbys keep up with the cluster.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Process")]
    pub(crate) ha_enable_leader_election: bool,
    /// Taken: there is no pprof here.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Process")]
    pub(crate) enable_pprof: bool,
    /// Trace requests, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Process")]
    pub(crate) tracing: bool,

    /// 0: problems only; 1: decisions; 2 and more: every score.
    #[arg(
        short = 'v',
        long = "v",
        value_name = "LEVEL",
        default_value_t = 0,
        help_heading = "Log"
    )]
    pub(crate) v: u8,
    /// How lines look: for people, or JSON.
    #[arg(
        long,
        value_enum,
        value_name = "ENCODER",
        default_value = "console",
        help_heading = "Log"
    )]
    pub(crate) zap_encoder: Encoder,
    /// Taken: the lines are the same.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set, help_heading = "Log")]
    pub(crate) zap_devel: bool,
    /// As -v, in zap's words: error, info, debug, or a number.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "",
        hide_default_value = true,
        help_heading = "Log"
    )]
    pub(crate) zap_log_level: String,
    /// Taken: there are no stack traces.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "",
        hide_default_value = true,
        help_heading = "Log"
    )]
    pub(crate) zap_stacktrace_level: String,
    /// Taken: times are RFC 3339.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "",
        hide_default_value = true,
        help_heading = "Log"
    )]
    pub(crate) zap_time_encoding: String,
    /// Also write the decision log as JSON lines to this file.
    #[arg(long, value_name = "FILE", help_heading = "Log")]
    pub(crate) log_file: Option<PathBuf>,
    /// Write nothing but errors.
    #[arg(long, help_heading = "Log")]
    pub(crate) quiet: bool,
}

/// `--error-format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Errors {
    /// Plain text in the reference's words.
    Reference,
    /// An OpenAI error object.
    Openai,
}

impl From<Errors> for ErrorFormat {
    fn from(errors: Errors) -> Self {
        match errors {
            Errors::Reference => Self::Reference,
            Errors::Openai => Self::OpenAi,
        }
    }
}

/// `--zap-encoder`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Encoder {
    /// For people.
    Console,
    /// For machines.
    Json,
}

impl Args {
    /// The pool's namespace.
    pub(crate) fn namespace(&self) -> String {
        let or = |text: String| Some(text).filter(|text| !text.is_empty());
        or(self.pool_namespace.clone())
            .or_else(|| std::env::var("NAMESPACE").ok().and_then(or))
            .unwrap_or_else(|| "default".to_owned())
    }

    /// The name of this process's own pod, where it is known.
    pub(crate) fn pod(&self) -> Option<String> {
        let known = self.pod_name.clone().filter(|name| !name.is_empty());
        known.or_else(|| std::env::var("POD_NAME").ok())
    }

    /// What the pool is called in metrics and in the lease: by its name; where its pods are found by labels, like the
    /// Deployment of the picker's own pod, so that all its replicas say the same.
    pub(crate) fn pool(&self) -> String {
        if !self.pool_name.is_empty() {
            return self.pool_name.clone();
        }
        let pod = self.pod().filter(|_| !self.endpoint_selector.is_empty());
        let name = pod.as_deref().and_then(deployment);
        name.unwrap_or("epp").to_owned()
    }
}

/// The name of the Deployment that a pod belongs to: the pod's without its last two parts.
fn deployment(pod: &str) -> Option<&str> {
    let is_part = |part: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !part.is_empty() && part.chars().all(fits)
    };
    let (rest, last) = pod.rsplit_once('-')?;
    let (name, hash) = rest.rsplit_once('-')?;
    (!name.is_empty() && is_part(last) && is_part(hash)).then_some(name)
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

    fn read(flags: &[&str]) -> Args {
        Line::try_parse_from([&["epp"], flags].concat())
            .unwrap()
            .args
    }

    #[test]
    fn of_a_flag_that_is_given_twice_the_last_one_counts_and_lists_grow() {
        let args = read(&[
            "--grpc-port=1",
            "--grpc-port=2",
            "--secure-serving",
            "--secure-serving=false",
            "--endpoint-target-ports=1,2",
            "--endpoint-target-ports=3",
        ]);
        assert_eq!((args.grpc_port, args.secure_serving), (2, false));
        assert_eq!(args.endpoint_target_ports, [1, 2, 3]);
    }

    #[test]
    fn a_pool_without_a_name_is_called_like_the_picker_s_deployment() {
        let selector = "--endpoint-selector=app=x";
        let pod = "--pod-name=my-epp-7d4b9c8f6-x2x9k";
        assert_eq!(read(&[selector, pod]).pool(), "my-epp");
        assert_eq!(read(&["--pool-name=p", pod]).pool(), "p");
        assert_eq!(read(&[pod]).pool(), "epp");
        for odd in ["one", "a-b", "-a-b", "a-B-c", "a--c"] {
            assert_eq!(deployment(odd), None, "{odd}");
        }
        // Variables of the reference are asked behind the flag and its own variable, so the parser knows none of them.
        let command = <Line as clap::CommandFactory>::command();
        assert!(command.get_arguments().all(|one| one.get_env().is_none()));
        assert_eq!(read(&["--pool-namespace="]).namespace(), "default");
        assert_eq!(read(&["--pool-namespace=n"]).namespace(), "n");
    }
}
