//! From flags to the plan in force: a named profile or a configuration file, which is followed when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use pointsman_core::config::basis::Registry;
use pointsman_core::config::compat::Compat;
use pointsman_core::config::fault::{Fault, Severity};
use pointsman_core::config::resolved::Resolved;
use pointsman_core::contract::staleness::Policy;
use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::plan::watch::{Change, Pace, watch};
use pointsman_feeds::plan::{Terms, from_preset, from_text, text_of};
use pointsman_serve::reloads::Reload;
use pointsman_serve::router::Router;
use pointsman_serve::what_ifs::Planner;

use crate::console::{complain, refused};
use crate::findings::{line_of, refusal};

/// Flags about the configuration.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PlanArgs {
    /// Scheduling configuration (EndpointPickerConfig) instead of a named profile; read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Whose rules apply: those of the reference's first or second generation, or what the configuration shows.
    #[arg(long, value_enum, value_name = "RULES", default_value = "auto")]
    pub(crate) compat: Rules,
}

/// `--compat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Rules {
    /// The configuration decides.
    Auto,
    /// The first generation (v0.4).
    G1,
    /// The second generation (v0.10).
    G2,
}

impl From<Rules> for Compat {
    fn from(rules: Rules) -> Self {
        match rules {
            Rules::Auto => Self::Auto,
            Rules::G1 => Self::G1,
            Rules::G2 => Self::G2,
        }
    }
}

/// Every plugin of this build.
pub(crate) fn registry() -> Registry {
    Registry::new(
        &[
            pointsman_plugins::ALL,
            pointsman_wire::parser::SPECS,
            pointsman_feeds::SPECS,
        ]
        .concat(),
    )
}

/// The plan that the flags ask for, and the file to follow.
pub(crate) struct Chosen {
    /// The plan.
    pub(crate) plan: Plan,
    /// Its file, if it has one.
    pub(crate) followed: Option<Followed>,
    /// How it was made, and how others are.
    pub(crate) manner: Manner,
}

/// A configuration file that is followed.
pub(crate) struct Followed {
    path: PathBuf,
    text: String,
    manner: Manner,
}

/// How this process makes plans of texts.
#[derive(Clone)]
pub(crate) struct Manner {
    /// Whose rules are asked for.
    pub(crate) compat: Compat,
    /// A flag given that only the first generation has.
    pub(crate) legacy_flag: Option<&'static str>,
    /// What becomes of old readings where the text does not say.
    pub(crate) staleness: Policy,
    /// Whether plugins that the reference calls experimental were asked for.
    pub(crate) experimental: bool,
    /// What flags change in every plan.
    pub(crate) adjust: Option<Adjust>,
}

/// Changes a plan, or says which flag cannot be followed.
pub(crate) type Adjust = Arc<dyn Fn(&mut Plan) -> Result<(), String> + Send + Sync>;

impl Manner {
    /// The manner of the doors that have the picker inside.
    fn embedded(compat: Compat) -> Self {
        Self {
            compat,
            legacy_flag: None,
            staleness: Policy::Penalise,
            experimental: false,
            adjust: None,
        }
    }

    fn terms<'a>(&self, registry: &'a Registry) -> Terms<'a> {
        Terms {
            compat: self.compat,
            legacy_flag: self.legacy_flag,
            staleness: self.staleness,
            experimental: self.experimental,
            ..Terms::new(registry)
        }
    }

    fn adjusted(&self, mut resolved: Resolved) -> Result<Resolved, Vec<Fault>> {
        if let Some(adjust) = &self.adjust {
            adjust(&mut resolved.plan).map_err(|why| vec![Fault::error("", why)])?;
        }
        Ok(resolved)
    }

    fn resolved(&self, text: &str, source: &str) -> anyhow::Result<Resolved> {
        let registry = registry();
        from_text(text, source, &self.terms(&registry))
            .and_then(|resolved| self.adjusted(resolved))
            .map_err(|faults| refusal(source, text, &faults))
    }

    /// The plan of a text that we wrote; nobody can mend it, so its warnings are not told.
    pub(crate) fn plan_of_ours(&self, text: &str, source: &str) -> anyhow::Result<Plan> {
        self.resolved(text, source).map(|resolved| resolved.plan)
    }

    /// The plan of a text that came from `source`; warnings are told.
    pub(crate) fn plan_of(&self, text: &str, source: &str) -> anyhow::Result<Plan> {
        let resolved = self.resolved(text, source)?;
        for line in warnings(source, &resolved) {
            complain(&format!("warning: {line}\n"));
        }
        Ok(resolved.plan)
    }

    /// The plan of a file, which is then followed.
    pub(crate) fn plan_of_file(&self, path: &Path) -> anyhow::Result<Chosen> {
        let text = text_of(path).map_err(|fault| anyhow::anyhow!(fault.message))?;
        Ok(Chosen {
            plan: self.plan_of(&text, &path.display().to_string())?,
            followed: Some(Followed {
                path: path.to_owned(),
                text,
                manner: self.clone(),
            }),
            manner: self.clone(),
        })
    }
}

impl Manner {
    /// Makes plans beside the one in force: what would be if.
    pub(crate) fn planner(self) -> Planner {
        Box::new(move |text, source| {
            let registry = registry();
            from_text(text, source, &self.terms(&registry))
                .and_then(|resolved| self.adjusted(resolved))
                .map(|resolved| resolved.plan)
                .map_err(|faults| errors(source, &faults))
        })
    }
}

impl PlanArgs {
    /// The plan of an embedded door; warnings are told.
    pub(crate) fn choose(&self, profile: &str) -> anyhow::Result<Chosen> {
        let manner = Manner::embedded(self.compat.into());
        if let Some(path) = &self.config_file {
            return manner.plan_of_file(path);
        }
        let registry = registry();
        let resolved = from_preset(profile, &manner.terms(&registry))
            .map_err(|faults| refused(&format!("profile {profile}"), &faults))?;
        Ok(Chosen {
            plan: resolved.plan,
            followed: None,
            manner,
        })
    }
}

fn warnings(file: &str, resolved: &Resolved) -> Vec<String> {
    let told = resolved
        .warnings
        .iter()
        .filter(|f| f.severity == Severity::Warning);
    told.map(|fault| line_of(file, fault)).collect()
}

/// One line about the plan in force: where it is from, whose rules it follows and why.
pub(crate) fn in_a_line(plan: &Plan) -> String {
    format!(
        "plan {} (rules of {}: {})",
        plan.source,
        plan.compat.word(),
        plan.compat_reason
    )
}

/// Follows the file of the plan in force until the runtime ends. Whoever resolves goes on with what the plan in
/// force knows, and requests under way keep the plan they began with.
pub(crate) fn follow(router: &Arc<Router>, followed: Option<Followed>) {
    let Some(Followed { path, text, manner }) = followed else {
        return;
    };
    let shown = path.display().to_string();
    let (resolving, source) = (Arc::clone(router), shown.clone());
    let resolve = move |text: &str| {
        let (registry, plan) = (registry(), resolving.plan.load_full());
        let terms = Terms {
            previous: Some(&plan),
            ..manner.terms(&registry)
        };
        manner.adjusted(from_text(text, &source, &terms)?)
    };
    let router = Arc::clone(router);
    let tell = move |change: Change| take(&router, &shown, change);
    tokio::spawn(watch(path, text, Pace::default(), resolve, tell));
}

/// Puts a new plan in force, or says why it is not.
fn take(router: &Router, file: &str, change: Change) {
    let at_unix_ns = router.clock.unix_ns(router.clock.now());
    let remark = |text: &str| router.log.remark(at_unix_ns, text);
    let faults = match change {
        Change::Plan(resolved) => {
            let resolved = *resolved;
            for line in warnings(file, &resolved) {
                remark(&format!("warning: {line}"));
            }
            let old = router.plan.load();
            if old.discovery != resolved.plan.discovery {
                remark("warning: a change of dataLayer.discovery takes effect at the next start");
            }
            let line = in_a_line(&resolved.plan);
            let number = resolved.plan.generation;
            router.plan.store(Arc::new(resolved.plan));
            remark(&format!("{file} read again: {line} is number {number}"));
            Vec::new()
        }
        Change::Refused(faults) => {
            let lines = errors(file, &faults);
            let text = lines.join("; ");
            remark(&format!(
                "{file} is refused, the plan in force stays: {text}"
            ));
            lines
        }
    };
    router.reloads.note(Reload { at_unix_ns, faults });
}

fn errors(file: &str, faults: &[Fault]) -> Vec<String> {
    let errors = faults.iter().filter(|f| f.severity == Severity::Error);
    errors.map(|fault| line_of(file, fault)).collect()
}
