//! `pointsman validate`: checks configurations, routes and custom resources, and shows the plan that a configuration means
//! and the objects that a custom resource stands for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use pointsman_core::config::catalogue::DIFFERING;
use pointsman_core::config::compat::Compat;
use pointsman_core::config::fault::{Fault, Severity, refuses};
use pointsman_core::contract::spec::Generation;
use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::plan::{Terms, from_text, text_of};
use pointsman_operator::desired::child::Child;
use pointsman_serve::admin::plan::view;
use pointsman_serve::door::route::Routes;
use serde_json::{Value, json};

use crate::commands::custom;
use crate::console::say;
use crate::findings::with_caret;
use crate::planning::{Rules, registry};

const EXAMPLES: &str = "\
Examples:
  pointsman validate epp-config.yaml
  pointsman validate --compat g2 --strict epp-config.yaml routes.yaml
  pointsman validate -o json epp-config.yaml
  pointsman validate install.yaml                       a SchedulerInstall or SimulatorDeployment: what it stands for

Exit code: 0 good, 1 something is refused, 2 wrong usage.";

/// Version of the JSON report.
const SCHEMA_VERSION: u32 = 1;

/// Flags of `pointsman validate`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configurations (EndpointPickerConfig), HTTPRoutes, and custom resources of the operator (SchedulerInstall,
    /// SimulatorDeployment).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whose rules apply: those of the reference's first or second generation, or what the configuration shows.
    #[arg(long, value_enum, value_name = "RULES", default_value = "auto")]
    compat: Rules,
    /// Refuse what would only be warned about.
    #[arg(long)]
    strict: bool,
    /// How the report looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

/// How the report looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// What was found about one file, or about one document of several.
struct Report {
    file: String,
    document: Option<usize>,
    text: String,
    kind: &'static str,
    faults: Vec<Fault>,
    plan: Option<Plan>,
    differences: Option<Differences>,
    children: Vec<Child>,
}

/// What would change under the other generation's rules.
struct Differences {
    generation: Generation,
    refused: bool,
    findings: Vec<Fault>,
    formulas: Vec<String>,
}

/// Checks all files and says whether they are good.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut reports: Vec<Report> = args
        .files
        .iter()
        .flat_map(|path| check(path, args.compat.into()))
        .collect();
    if args.strict {
        for fault in reports.iter_mut().flat_map(|report| &mut report.faults) {
            if fault.severity == Severity::Warning {
                fault.severity = Severity::Error;
            }
        }
    }
    say(&match args.output {
        Output::Table => reports.iter().map(table).collect::<Vec<_>>().join("\n"),
        Output::Json => json_of(&reports),
    });
    let refused = reports.iter().filter(|report| !report.is_good()).count();
    if refused > 0 {
        bail!("{refused} of {} refused", reports.len());
    }
    Ok(())
}

impl Report {
    fn is_good(&self) -> bool {
        !refuses(&self.faults)
    }
}

/// Everything in one file. Custom resources stand in files of several documents, each of which is judged by itself; a file
/// without any is read as a whole, as the picker and the gateway read it.
fn check(path: &Path, compat: Compat) -> Vec<Report> {
    let new = |text: &str, document| Report {
        file: path.display().to_string(),
        document,
        text: text.to_owned(),
        kind: "EndpointPickerConfig",
        faults: Vec::new(),
        plan: None,
        differences: None,
        children: Vec::new(),
    };
    let text = match text_of(path) {
        Ok(text) => text,
        Err(fault) => {
            let mut report = new("", None);
            report.faults.push(fault);
            return vec![report];
        }
    };
    let documents: Vec<_> = custom::documents(&text)
        .into_iter()
        .map(|document| (custom::judge(&document.text), document))
        .collect();
    if documents.iter().all(|(judged, _)| judged.is_empty()) {
        return vec![check_text(new(&text, None), compat)];
    }
    let several = documents.len() > 1;
    let mut reports = Vec::new();
    for (judged, document) in documents {
        let number = Some(document.number).filter(|_| several);
        let new = || new(&document.text, number);
        if judged.is_empty() {
            reports.push(check_text(new(), compat));
        }
        reports.extend(judged.into_iter().map(|one| Report {
            kind: one.kind,
            faults: one.faults,
            children: one.children,
            ..new()
        }));
    }
    reports
}

/// A configuration, or routes.
fn check_text(mut report: Report, compat: Compat) -> Report {
    if is_routes(&report.text) {
        report.kind = "HTTPRoute";
        report.faults = Routes::parse(&report.text).err().unwrap_or_default();
        return report;
    }
    let registry = registry();
    let terms = |compat| Terms {
        compat,
        ..Terms::new(&registry)
    };
    match from_text(&report.text, &report.file, &terms(compat)) {
        Err(faults) => report.faults = faults,
        Ok(resolved) => {
            let (other, generation) = match resolved.plan.compat {
                Generation::G1 => (Compat::G2, Generation::G2),
                Generation::G2 => (Compat::G1, Generation::G1),
            };
            let under = from_text(&report.text, &report.file, &terms(other));
            let (refused, found) = match under {
                Ok(resolved) => (false, resolved.warnings),
                Err(faults) => (true, faults),
            };
            let known = |fault: &Fault| resolved.warnings.contains(fault);
            report.differences = Some(Differences {
                generation,
                refused,
                findings: found.into_iter().filter(|fault| !known(fault)).collect(),
                formulas: formulas(&resolved.plan),
            });
            report.faults = resolved.warnings;
            report.plan = Some(resolved.plan);
        }
    }
    report
}

/// Route files say so in every object; a configuration never does.
fn is_routes(text: &str) -> bool {
    text.lines()
        .any(|line| line.trim_start_matches("- ").trim() == "kind: HTTPRoute")
        || text.contains("\"HTTPRoute\"")
}

/// The types of the plan that score or decide differently in the two generations.
fn formulas(plan: &Plan) -> Vec<String> {
    let in_profiles = plan.profiles.iter().flat_map(|profile| {
        let filters = profile.filters.iter().map(|filter| filter.kind);
        filters.chain(profile.scorers.iter().map(|scorer| scorer.scorer.kind))
    });
    let kinds: Vec<&str> = in_profiles.chain([plan.handler.kind]).collect();
    DIFFERING
        .iter()
        .filter(|(kind, _)| kinds.contains(kind))
        .map(|(kind, what)| format!("{kind}: {what}"))
        .collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn table(report: &Report) -> String {
    let mut out = String::new();
    let count = |severity| {
        let faults = report.faults.iter();
        faults.filter(|fault| fault.severity == severity).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let verdict = if report.is_good() { "good" } else { "refused" };
    let document = report.document.map(|number| format!(" document {number}"));
    let _ = writeln!(
        out,
        "{}{}: {}, {verdict}, {errors} errors, {warnings} warnings",
        report.file,
        document.unwrap_or_default(),
        report.kind
    );
    for fault in &report.faults {
        let shown = with_caret(&report.file, &report.text, fault);
        let _ = writeln!(out, "  {}: {shown}", word(fault.severity));
    }
    for child in &report.children {
        let _ = writeln!(
            out,
            "  makes      {} {}/{}",
            child.kind.kind, child.namespace, child.name
        );
    }
    if let Some(plan) = &report.plan {
        plan_in_words(plan, &mut out);
    }
    if let Some(differences) = &report.differences {
        let generation = differences.generation.word();
        let verdict = if differences.refused {
            "is refused"
        } else {
            "is accepted"
        };
        let _ = writeln!(out, "  under the rules of {generation}: {verdict}");
        for fault in &differences.findings {
            let place = fault.place.map_or_else(String::new, |p| format!("{p}: "));
            let _ = writeln!(out, "    {}: {place}{fault}", word(fault.severity));
        }
        for formula in &differences.formulas {
            let _ = writeln!(out, "    {formula}");
        }
    }
    out
}

fn plan_in_words(plan: &Plan, out: &mut String) {
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<10} {text}");
    };
    line(
        "rules",
        format!("{} ({})", plan.compat.word(), plan.compat_reason),
    );
    line("handler", named(plan.handler.kind, &plan.handler.name));
    for profile in &plan.profiles {
        line("profile", profile.name.clone());
        for filter in &profile.filters {
            line("  filter", named(filter.kind, &filter.name));
        }
        for scorer in &profile.scorers {
            let name = named(scorer.scorer.kind, &scorer.scorer.name);
            line("  scorer", format!("{name} × {}", scorer.weight));
        }
        line("  picker", named(profile.picker.kind, &profile.picker.name));
    }
    for producer in &plan.producers {
        line("producer", named(producer.kind, &producer.name));
    }
    for preparer in &plan.preparers {
        line("producer", named(preparer.kind, &preparer.name));
    }
    if !plan.added.is_empty() {
        line("added", plan.added.join(", "));
    }
    let view = view(plan);
    for name in ["parsers", "metrics", "discovery", "settings"] {
        if let Some(value) = view.get(name).filter(|value| !value.is_null()) {
            line(name, in_line(value));
        }
    }
}

/// A value in the shortest form that can be read aloud: no quotes, no empty fields.
fn in_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_line).collect::<Vec<_>>().join(", "),
        Value::Object(object) => {
            let said = object
                .iter()
                .filter(|(_, v)| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()))
                .map(|(name, value)| match value {
                    Value::Object(_) => (name, format!("({})", in_line(value))),
                    _ => (name, in_line(value)),
                })
                .filter(|(_, text)| text != "()");
            said.map(|(name, text)| format!("{name} {text}"))
                .collect::<Vec<_>>()
                .join(", ")
        }
        other => other.to_string(),
    }
}

fn named(kind: &str, name: &str) -> String {
    if kind == name {
        kind.to_owned()
    } else {
        format!("{name} ({kind})")
    }
}

fn json_of(reports: &[Report]) -> String {
    let finding = |fault: &Fault| {
        json!({
            "severity": word(fault.severity),
            "path": fault.path,
            "line": fault.place.map(|p| p.line),
            "column": fault.place.map(|p| p.column),
            "message": fault.message,
        })
    };
    let child = |child: &Child| {
        json!({
            "group": child.kind.group,
            "kind": child.kind.kind,
            "namespace": child.namespace,
            "name": child.name,
        })
    };
    let files: Vec<Value> = reports
        .iter()
        .map(|report| {
            let differences = report.differences.as_ref().map(|d| {
                json!({
                    "generation": d.generation.word(),
                    "refused": d.refused,
                    "findings": d.findings.iter().map(finding).collect::<Vec<_>>(),
                    "formulas": d.formulas,
                })
            });
            json!({
                "file": report.file,
                "document": report.document,
                "kind": report.kind,
                "ok": report.is_good(),
                "findings": report.faults.iter().map(finding).collect::<Vec<_>>(),
                "plan": report.plan.as_ref().map(view),
                "differences": differences,
                "children": report.children.iter().map(child).collect::<Vec<_>>(),
            })
        })
        .collect();
    let ok = reports.iter().all(Report::is_good);
    let report = json!({"schemaVersion": SCHEMA_VERSION, "ok": ok, "files": files});
    format!("{report:#}\n")
}
