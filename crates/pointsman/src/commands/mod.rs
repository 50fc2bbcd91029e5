//! The commands, one file each, and the choice among them.

mod bench;
mod crds;
mod custom;
mod dashes;
mod doctor;
mod epp;
mod explain;
mod fleet;
mod gateway;
mod operator;
mod proxy;
mod render;
mod replay;
mod scan;
mod sim;
mod stack;
mod up;
mod validate;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::console::{WrongUsage, complain};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  pointsman                                             the lab on this machine: gateway :8080, admin :9090
  pointsman up --profile proxy-performance-by-backend   the lab with a filter by KV backend
  pointsman gateway --endpoints pool.yaml               the gateway for your own backends
  pointsman epp --config-file epp.yaml                  the picker that a gateway asks (ext_proc)
  pointsman proxy --kind fs --prefill http://p:8000 --decode http://d:8000
  pointsman sim --model my-model --port 8000            one simulated model server
  pointsman operator --leader-elect                     keeps what custom resources ask for
  pointsman crds | kubectl apply --server-side -f -     the operator's custom resource definitions
  pointsman render install.yaml                         the objects that a SchedulerInstall stands for
  pointsman stack apply --simulated                     the whole lab in a cluster, without GPUs
  pointsman validate epp-config.yaml                    what a configuration means, and what is wrong with it
  pointsman verify                                      proves that the running gateway works, or says why not
  pointsman verify --kube                               the same of an installation in a cluster
  pointsman doctor --kube                               what is wrong with an installation, and what mends it
  pointsman explain                                     why the latest request went where it went
  pointsman replay receipts.json --config-file new.yaml what another configuration would have picked
  pointsman scan                                        GPUs, links and networks, and where prefill and decode belong
  pointsman bench throughput --concurrency 1,8,32       load on a gateway, and what it did with it
  pointsman fleet --policy mine.yaml,balanced           which policy is best, in virtual time";

/// Performance-aware router for disaggregated (prefill/decode) LLM serving.
///
/// Without a command it runs `up`.
#[derive(Parser)]
#[command(name = "pointsman", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // parsed once per process
enum Command {
    /// Run the lab in one process: gateway, picker and simulated prefill/decode pairs.
    Up(up::Args),
    /// Run the gateway with the picker inside, for your own backends.
    Gateway(gateway::Args),
    /// Run the endpoint picker that a gateway such as Envoy asks over gRPC (ext_proc).
    Epp(epp::Args),
    /// Run a P/D proxy: prefill on one server, decode on another.
    Proxy(proxy::Args),
    /// Run one simulated model server.
    Sim(sim::Args),
    /// Run the operator: keep what SchedulerInstalls and SimulatorDeployments ask for.
    Operator(operator::Args),
    /// Print the operator's custom resource definitions.
    Crds(crds::Args),
    /// Print the objects that custom resources stand for, without a cluster.
    Render(render::Args),
    /// Print or apply the model-server side of the lab: servers, P/D proxies, pool, routes.
    Stack(stack::Args),
    /// Check configurations, routes and custom resources, and show what they mean.
    Validate(validate::Args),
    /// Prove a running gateway, or say what is wrong and what mends it.
    Verify(verify::Args),
    /// Find what is wrong with an installation in a cluster, or on this machine, and how to mend it.
    Doctor(doctor::Args),
    /// Show one decision: candidates, filters, readings, scores, tie, pick and outcome.
    Explain(explain::Args),
    /// Make recorded decisions again under another configuration.
    Replay(replay::Args),
    /// Find GPUs, links and networks, and say where prefill and decode belong.
    Scan(scan::Args),
    /// Put load on a gateway, measure it, and compare measurements.
    Bench(bench::Args),
    /// Play policies against each other on simulated engines in virtual time.
    Fleet(fleet::Args),
}

/// Parses the arguments, runs the command and gives the process's exit code.
pub(crate) fn run(mut arguments: Vec<OsString>) -> ExitCode {
    if let Some(command) = meant_command(&arguments) {
        arguments.insert(1, command.into());
        if command == "sim" {
            // In a pod others ask; a --host that is given comes later and counts.
            arguments.insert(2, "--host=0.0.0.0".into());
        }
    }
    dashes::double(&mut arguments, &command());
    let parsed = command()
        .try_get_matches_from(&arguments)
        .and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no mistakes.
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let result = match cli.command {
        Command::Up(args) => up::run(args).map(good),
        Command::Gateway(args) => gateway::run(args).map(good),
        Command::Epp(args) => epp::run(args).map(good),
        Command::Proxy(args) => proxy::run(args).map(good),
        Command::Sim(args) => sim::run(args).map(good),
        Command::Operator(args) => operator::run(&args).map(good),
        Command::Crds(args) => crds::run(&args).map(good),
        Command::Render(args) => render::run(&args).map(good),
        Command::Stack(args) => stack::run(args),
        Command::Validate(args) => validate::run(args).map(good),
        Command::Verify(args) => verify::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(args).map(good),
        Command::Replay(args) => replay::run(args).map(good),
        Command::Scan(args) => scan::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Fleet(args) => fleet::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}\n"));
            ExitCode::from(if error.is::<WrongUsage>() { 2 } else { 1 })
        }
    }
}

fn good((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// The arguments, where every flag without a variable of its own can also be given as `POINTSMAN_<FLAG>`.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(with_variables)
}

fn with_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_long() {
        Some(long) if argument.get_env().is_none() => {
            let variable = format!("POINTSMAN_{}", long.replace('-', "_").to_uppercase());
            // Leaked once per flag and process: the parser wants names that live as long as it does.
            argument.env(&*Box::leak(variable.into_boxed_str()))
        }
        _ => argument,
    });
    command.mut_subcommands(with_variables)
}

/// The command that is meant where none is named: what the flags belong to when a manifest was made for the reference,
/// whose images have no commands; else `up`.
fn meant_command(arguments: &[OsString]) -> Option<&'static str> {
    let words: Vec<&str> = arguments
        .iter()
        .skip(1)
        .filter_map(|a| a.to_str())
        .collect();
    match words.first() {
        None => return Some("up"),
        Some(first) if !first.starts_with('-') => return None,
        Some(&("-h" | "--help" | "-V" | "--version")) => return None,
        Some(_) => {}
    }
    let names = |wanted: &[&str]| {
        words.iter().any(|word| {
            let bare = word
                .strip_prefix('-')
                .map(|w| w.strip_prefix('-').unwrap_or(w));
            bare.is_some_and(|bare| wanted.contains(&bare.split('=').next().unwrap_or_default()))
        })
    };
    Some(
        if names(&["pool-name", "endpoint-selector", "config-file"]) {
            "epp"
        } else if names(&["model"]) {
            "sim"
        } else {
            "up"
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_arguments_are_consistent_and_every_flag_has_its_variable() {
        let command = command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            check_variables(sub);
            sub.get_subcommands().for_each(check_variables);
        }
    }

    #[track_caller]
    fn check_variables(sub: &clap::Command) {
        for argument in sub.get_arguments().filter(|a| a.get_long().is_some()) {
            let long = argument.get_long().unwrap_or_default();
            if matches!(long, "help" | "version") {
                continue;
            }
            let expected = format!("POINTSMAN_{}", long.replace('-', "_").to_uppercase());
            let found = argument.get_env().map(|e| e.to_string_lossy().into_owned());
            let own = ["PREFILL_", "DECODE_", "SIM_", "POD_"];
            let own = found
                .as_ref()
                .is_some_and(|name| own.iter().any(|start| name.starts_with(start)));
            assert!(
                own || found.as_deref() == Some(expected.as_str()),
                "{} --{long}: {found:?}",
                sub.get_name()
            );
        }
    }

    #[test]
    fn flags_without_a_command_mean_the_one_they_belong_to() {
        let call =
            |words: &[&str]| meant_command(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(call(&["pointsman"]), Some("up"));
        assert_eq!(call(&["pointsman", "--profile", "x"]), Some("up"));
        assert_eq!(call(&["pointsman", "--help"]), None);
        assert_eq!(call(&["pointsman", "gateway"]), None);
        assert_eq!(
            call(&["pointsman", "--pool-name", "p", "--v", "4"]),
            Some("epp")
        );
        assert_eq!(
            call(&["pointsman", "-v=4", "-endpoint-selector=app=x"]),
            Some("epp")
        );
        assert_eq!(call(&["pointsman", "--config-file=f"]), Some("epp"));
        assert_eq!(
            call(&["pointsman", "--model", "m", "--port", "8000"]),
            Some("sim")
        );
    }
}
