//! A configuration with nothing left to interpret: what the scheduler runs.

use crate::contract::roles::{FileDiscovery, Filter, Picker, ProfileHandler, Scorer};
use crate::contract::spec::Generation;
use crate::model::slots::Reading;

/// A plugin with the names it goes by.
pub struct Named<T: ?Sized> {
    /// Name in the configuration (defaults to the type).
    pub name: String,
    /// Type string.
    pub kind: &'static str,
    /// The plugin.
    pub plugin: Box<T>,
}

/// A scorer with its weight.
pub struct Weighted {
    /// The scorer and its names.
    pub scorer: Named<dyn Scorer>,
    /// The factor of its scores in the total.
    pub weight: f64,
}

/// One scheduling profile.
pub struct Profile {
    /// Name in the configuration.
    pub name: String,
    /// Filters in the order they run.
    pub filters: Vec<Named<dyn Filter>>,
    /// Scorers in the order they run.
    pub scorers: Vec<Weighted>,
    /// The picker.
    pub picker: Named<dyn Picker>,
}

/// The plan in force.
pub struct Plan {
    /// What the plan was made from: a preset's name or a file path.
    pub source: String,
    /// Counts the plans of this process.
    pub generation: u64,
    /// Whose rules apply.
    pub compat: Generation,
    /// Fingerprint of the configuration as written.
    pub hash: u64,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// Decides which profiles run.
    pub handler: Named<dyn ProfileHandler>,
    /// Where endpoints come from, if the configuration says so.
    pub discovery: Option<FileDiscovery>,
    /// The readings that some plugin of the plan needs.
    pub reads: Vec<Reading>,
}
