//! `pointsman scan`: GPUs, links and networks of this machine, of a cluster, or of files.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use pointsman_topo::figure::figure;
use pointsman_topo::problem::Severity;
use pointsman_topo::sources::{Sources, Text};
use pointsman_topo::{gather, scan, svg};

use crate::console::{complain, say, stdout_has_colour};
use crate::scan::{cluster, save, table};
use crate::serving::runtime;

const EXAMPLES: &str = "\
Examples:
  pointsman scan                                     this machine: /sys and nvidia-smi
  pointsman scan --kube                              all nodes, as the API server knows them
  kubectl get nodes -o json | pointsman scan --nodes -
  pointsman scan --node --save-to scans              on each node: keep what was read; then, elsewhere:
  pointsman scan --input scans -o json
  pointsman scan --kube --apply-labels               give the nodes their llm-d.ai/kv-* labels

Exit code: 0 scanned, 1 an input could not be read at all or nothing was found, 2 wrong usage.";

/// Flags of `pointsman scan`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Scan this machine; what is done without --kube, --input and --nodes.
    #[arg(long, conflicts_with_all = ["kube", "input", "nodes"])]
    node: bool,
    /// Ask the API server for its nodes.
    #[arg(long, conflicts_with_all = ["input", "nodes"])]
    kube: bool,
    /// Read everything from a folder: nodes.json, nodes/NODE/{gpus.csv,topo.txt,sys}.
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// Read the nodes from a file, the output of kubectl get nodes -o json; - is the standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    nodes: Option<PathBuf>,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config, the pod's service account].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Give each node with GPUs its labels llm-d.ai/kv-backend, kv-domain and kv-link-gb-per-s.
    #[arg(long)]
    apply_labels: bool,
    /// Keep the scan: a file that ends in .json gets the report, a folder all that was read as well.
    #[arg(long, value_name = "PATH")]
    save_to: Option<PathBuf>,
    /// Draw the picture into a file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How the report looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
    /// Where /sys is.
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    sys: PathBuf,
    /// What to call for nvidia-smi.
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "nvidia-smi",
        hide = true
    )]
    nvidia_smi: String,
}

/// How the report looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people: table, picture, placements.
    Table,
    /// One JSON document.
    Json,
    /// The picture.
    Svg,
}

/// Reads, joins, writes.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let sources = sources(&args)?;
    let report = scan::scan(&sources);
    let json = format!("{}\n", serde_json::to_string_pretty(&report)?);
    if let Some(path) = &args.save_to {
        save::save(path, &sources, &json)?;
    }
    let drawn = || svg::svg(&figure(&report));
    if let Some(path) = &args.svg {
        save::file(path, &drawn())?;
    }
    say(&match args.output {
        Output::Table => table::page(&report, stdout_has_colour()),
        Output::Json => json,
        Output::Svg => drawn(),
    });
    let mut failed = report.nodes.is_empty();
    for problem in &report.problems {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        failed |= problem.severity == Severity::Error;
        complain(&format!("{word}: {problem}\n"));
    }
    if args.apply_labels {
        if failed {
            bail!("nothing was labelled, since not everything could be read");
        }
        let (labelled, cleared) =
            runtime()?.block_on(cluster::label(args.kubeconfig.as_deref(), &report))?;
        let cleared = match cleared {
            0 => String::new(),
            count => format!(", took the labels back from {count} without GPUs"),
        };
        complain(&format!(
            "labelled {labelled} of {} nodes{cleared}\n",
            report.nodes.len()
        ));
    }
    if report.nodes.is_empty() && report.problems.is_empty() {
        complain("error: there is no node in what was read\n");
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn sources(args: &Args) -> anyhow::Result<Sources> {
    if args.kube {
        return runtime()?.block_on(cluster::read(args.kubeconfig.as_deref()));
    }
    if let Some(folder) = &args.input {
        return Ok(gather::folder(folder));
    }
    if let Some(path) = &args.nodes {
        return Ok(Sources {
            cluster: Some(nodes(path)?),
            ..Sources::default()
        });
    }
    Ok(gather::machine(&args.sys, &args.nvidia_smi))
}

fn nodes(path: &Path) -> anyhow::Result<Text> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("the standard input cannot be read")?;
        return Ok(Text::new("standard input", String::from_utf8_lossy(&bytes)));
    }
    let bytes =
        std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Text::new(
        path.display().to_string(),
        String::from_utf8_lossy(&bytes),
    ))
}
