//! What a question "what if" is answered with: how this process makes plans, and one turn for all questions.

use std::sync::{Arc, OnceLock};

use pointsman_core::schedule::plan::Plan;
use tokio::sync::Semaphore;

/// Makes a plan of a configuration's text and the name of its source as this process does, or says what is wrong with
/// it, a line each.
pub type Planner = Box<dyn Fn(&str, &str) -> Result<Plan, Vec<String>> + Send + Sync>;

/// How plans are made, and one turn, so that many questions take no more than one thread.
pub struct WhatIfs {
    planner: OnceLock<Planner>,
    /// Whoever answers holds it.
    pub turn: Arc<Semaphore>,
}

impl Default for WhatIfs {
    fn default() -> Self {
        Self {
            planner: OnceLock::new(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl WhatIfs {
    /// Plans are made so from now on; of several ways the first one stays.
    pub fn plan_with(&self, planner: Planner) {
        let _ = self.planner.set(planner);
    }

    /// How plans are made; `None` where nobody has said so.
    pub fn planner(&self) -> Option<&Planner> {
        self.planner.get()
    }
}
