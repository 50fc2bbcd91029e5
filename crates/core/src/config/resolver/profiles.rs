//! Profiles and the handler that chooses among them.
//!
//! No profile written means one profile `default` of every filter, scorer and picker in the order of declaration;
//! one profile without a handler gets `single-profile-handler`; a profile without a picker gets the first picker
//! declared, else a `max-score-picker`; a scorer without a weight gets 1.

use std::sync::Arc;

use crate::config::parts::{Parts, Told};
use crate::config::resolver::{Declarations, Resolver};
use crate::config::written::{Written, WrittenProfile, WrittenUse};
use crate::contract::observer::Announcer;
use crate::contract::roles::{Binding, ProfileHandler};
use crate::contract::spec::Role;
use crate::model::slots::Reading;
use crate::schedule::plan::{Named, Part, Profile, Weighted};

impl Resolver<'_> {
    /// The profiles as written, or the one that stands for all plugins.
    pub fn profiles_of(
        &mut self,
        written: &Written,
        declared: &Declarations<'_>,
    ) -> Vec<WrittenProfile> {
        if !written.scheduling_profiles.is_empty() {
            return written.scheduling_profiles.clone();
        }
        let plugins = declared
            .iter()
            .filter(|d| d.spec.role.in_profiles())
            .map(|d| WrittenUse {
                plugin_ref: d.name.clone(),
                weight: None,
            })
            .collect();
        vec![WrittenProfile {
            name: "default".to_owned(),
            plugins,
        }]
    }

    /// Whether the endpoint that gets the request is told who prefills, and who encodes: the handler says so, or its
    /// picks come from the profiles that a plugin tells.
    pub fn tells(
        &mut self,
        told: Option<&Told>,
        handler: &dyn ProfileHandler,
        profiles: &[WrittenProfile],
    ) -> [bool; 2] {
        let prefill = told.map(|told| told.prefill.as_str());
        let encode = told.and_then(|told| told.encode.as_deref());
        let parts = [
            (prefill, handler.prefill_profile(), "prefill"),
            (encode, handler.encode_profile(), "encode"),
        ];
        parts.map(|(told, at, part)| {
            let Some(at) = at else { return false };
            let (picked, Some(told)) = (&profiles[at].name, told) else {
                return handler.tells();
            };
            if picked != told && !handler.tells() {
                let message = format!(
                    "the header about the {part} tells the pick of profile '{told}', and who does it is picked by profile '{picked}'; no header is written, so name that one in {part}Profile"
                );
                self.warning("plugins", message);
            }
            picked == told || handler.tells()
        })
    }

    /// The headers that plugins put on answers, and whose pick each speaks of.
    pub fn announcers(
        &mut self,
        parts: &Parts,
        handler: &dyn ProfileHandler,
        profiles: &[WrittenProfile],
    ) -> Vec<(Arc<dyn Announcer>, Part)> {
        let name_of = |at: Option<usize>| at.map(|at| profiles[at].name.as_str());
        let mut all = Vec::new();
        for (plugin, announcer) in parts.announcers() {
            let profile = announcer.profile();
            let part = if profile.is_empty() {
                Part::Answer
            } else if name_of(handler.prefill_profile()) == Some(profile) {
                Part::Prefill
            } else if name_of(handler.encode_profile()) == Some(profile) {
                Part::Encode
            } else if profiles.iter().any(|one| one.name == profile) {
                Part::Answer
            } else {
                let message =
                    format!("'{plugin}' speaks of a profile '{profile}' that there is not");
                self.error("plugins", message);
                continue;
            };
            all.push((Arc::clone(announcer), part));
        }
        all
    }

    /// The one handler, acquainted with its profiles.
    pub fn handler(
        &mut self,
        parts: &mut Parts,
        profiles: &[WrittenProfile],
        declared: &Declarations<'_>,
    ) -> Option<Named<dyn ProfileHandler>> {
        let mut handlers = parts.take_handlers();
        if handlers.is_empty() {
            if self.may_have_handler(declared) {
                return None;
            }
            if repeated(profiles) {
                // Which of them are meant to be one is not known, and that has been told.
                return None;
            }
            if profiles.len() != 1 {
                let message = "no profile handler configured, and there is more than one profile; declare one, such as pd-profile-handler";
                self.error("schedulingProfiles", message);
                return None;
            }
            handlers.push(self.implied_handler()?);
        }
        if let [(first, ..), (second, ..), ..] = handlers.as_slice() {
            let message = format!(
                "multiple profile handlers found ('{first}', '{second}'); only one is allowed"
            );
            let path = declared
                .iter()
                .find(|d| d.name == second.as_ref())
                .map_or("plugins", |d| d.path.as_str());
            self.error(path, message);
            return None;
        }
        let (name, kind, mut handler) = handlers.pop()?;
        let names: Vec<&str> = profiles.iter().map(|p| p.name.as_str()).collect();
        let binding = Binding {
            profiles: &names,
            decider: &|name| parts.decider(name),
        };
        if let Err(why) = handler.bind(&binding) {
            // A decider that could not be built has been told already.
            if self.failed.is_empty() {
                self.error("schedulingProfiles", why);
            }
            return None;
        }
        Some(Named {
            name,
            kind,
            plugin: handler.into(),
        })
    }

    /// One profile; the readings that its plugins need are added to `reads`.
    pub fn profile(
        &mut self,
        at: usize,
        all: &[WrittenProfile],
        parts: &mut Parts,
        declared: &Declarations<'_>,
        reads: &mut Vec<Reading>,
    ) -> Option<Profile> {
        let written = &all[at];
        let path = format!("schedulingProfiles[{at}]");
        if written.name.is_empty() {
            let message = format!("{path} is missing a name; give it one");
            self.error(path.clone(), message);
        } else if all[..at].iter().any(|other| other.name == written.name) {
            let message = format!(
                "{path} has duplicate name '{}'; give it its own",
                written.name
            );
            self.error(format!("{path}.name"), message);
        }
        // As the reference names a profile in what it says of it.
        let who = match written.name.as_str() {
            "" => path.clone(),
            name => format!("schedulingProfiles[{name}]"),
        };
        let (mut filters, mut scorers, mut picker) = (Vec::new(), Vec::new(), None);
        for (i, used) in written.plugins.iter().enumerate() {
            let path = format!("{path}.plugins[{i}]");
            let weight = self.weight(used, &path);
            let who = match used.plugin_ref.as_str() {
                "" => format!("{who}.plugins[{i}] "),
                _ => format!("{who} "),
            };
            if !self.check_reference(&used.plugin_ref, &path, &who) {
                continue;
            }
            let Some(plugin) = declared.iter().find(|d| d.name == used.plugin_ref) else {
                continue;
            };
            for reading in plugin.spec.reads {
                if !reads.contains(reading) {
                    reads.push(*reading);
                }
            }
            let name = plugin.name.as_str();
            filters.extend(parts.filter(name));
            if let Some(scorer) = parts.scorer(name) {
                scorers.push(Weighted { scorer, weight });
            }
            if let Some(found) = parts.picker(name) {
                match picker.replace(found) {
                    Some(first) if first.name.as_ref() != name => {
                        let message = format!(
                            "failed to add plugin '{name}' to profile '{}': failed to set '{name}/{}' as picker, already have a registered picker plugin '{}/{}'; a profile has one",
                            written.name, plugin.spec.kind, first.name, first.kind
                        );
                        let place = match self.one_for_all {
                            true => plugin.path.clone(),
                            false => path,
                        };
                        self.error(place, message);
                    }
                    _ => {}
                }
            }
        }
        let picker = match picker {
            Some(picker) => picker,
            None => {
                self.add_picker(parts);
                parts.first_picker()?
            }
        };
        Some(Profile {
            name: written.name.clone(),
            filters,
            scorers,
            picker,
        })
    }

    /// The readings that plugins outside of profiles need.
    pub fn reads_of_admitters(&self, declared: &Declarations<'_>) -> Vec<Reading> {
        let admitters = declared.iter().filter(|d| d.spec.role == Role::Admitter);
        let mut reads: Vec<Reading> = Vec::new();
        for reading in admitters.flat_map(|d| d.spec.reads) {
            if !reads.contains(reading) {
                reads.push(*reading);
            }
        }
        reads
    }

    fn weight(&mut self, used: &WrittenUse, path: &str) -> f64 {
        let weight = used.weight.unwrap_or(1.0);
        let path = format!("{path}.weight");
        if !weight.is_finite() {
            let message = format!("{weight} is no weight; use a finite number");
            self.error(path, message);
        } else if weight <= 0.0 {
            let message = format!(
                "weight {weight} makes the scorer useless or turns it around; use a number above 0"
            );
            self.warning(path, message);
        }
        weight
    }
}

/// Whether two of these have one name.
fn repeated(profiles: &[WrittenProfile]) -> bool {
    let has = |at: usize, name: &str| profiles[..at].iter().any(|other| other.name == name);
    let mut each = profiles.iter().enumerate();
    each.any(|(at, profile)| has(at, &profile.name))
}
