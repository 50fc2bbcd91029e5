//! How it stands with each of the things that discovery follows.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The state of one watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing was heard yet.
    Starting,
    /// It is followed; so many objects.
    Following(usize),
    /// The cluster does not know the kind; that can be as it should be.
    Absent,
    /// It cannot be followed: why. What was known of it stands.
    Degraded(String),
}

/// All watches by what they follow.
#[derive(Debug, Default)]
pub struct Watches {
    states: Mutex<BTreeMap<&'static str, State>>,
}

impl Watches {
    /// Notes a state; whether it is another kind of state than before.
    pub fn note(&self, what: &'static str, state: State) -> bool {
        let mut states = self.states.lock();
        let before = states.insert(what, state.clone());
        let kind = |state: &State| std::mem::discriminant(state);
        before.is_none_or(|before| kind(&before) != kind(&state))
    }

    /// Everything, in the order of names.
    pub fn all(&self) -> Vec<(&'static str, State)> {
        let states = self.states.lock();
        states
            .iter()
            .map(|(what, state)| (*what, state.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_kind_of_state_is_news() {
        let watches = Watches::default();
        assert!(watches.note("pods", State::Following(1)));
        assert!(!watches.note("pods", State::Following(2)));
        assert!(watches.note("pods", State::Degraded("a".into())));
        assert!(!watches.note("pods", State::Degraded("b".into())));
        assert_eq!(watches.all(), [("pods", State::Degraded("b".into()))]);
    }
}
