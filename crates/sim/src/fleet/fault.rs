//! What goes wrong with engines, and when.

use pointsman_core::time::{Span, Tick};

/// What happens to an engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// It dies: what it has breaks off and connections are refused. When it comes back its caches are empty.
    Down,
    /// All its times are longer by this factor.
    Slow(f64),
}

/// Which engine of a member of the fleet is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// The prefill engine of a pair.
    Prefill,
    /// The engine that answers.
    Decode,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// When, since the fleet's beginning.
    pub at: Span,
    /// For how long; `None`: for good.
    pub lasting: Option<Span>,
    /// The member of the fleet, by its number.
    pub member: usize,
    /// Which of its engines.
    pub part: Part,
    /// What happens.
    pub kind: FaultKind,
    /// So long after a death the endpoint leaves the router's membership, and so long after the return it is back
    /// in; `None`: nobody tells the router.
    pub noticed: Option<Span>,
}

/// A change that is due at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The engine of this number dies.
    Dies(usize),
    /// It is back.
    Returns(usize),
    /// The endpoint of this number leaves the membership, if it is still dead.
    Leaves(usize),
    /// It joins the membership again, if it lives.
    Joins(usize),
    /// The engine of this number is so many times slower than it is by itself.
    Slows(usize, f64),
}

/// Changes in order of time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The next one last.
    changes: Vec<(Tick, Change)>,
}

impl Timeline {
    /// The changes that `faults` make; `hosts` says which engines and which endpoint a fault is about.
    pub fn new<'a>(
        faults: impl IntoIterator<Item = &'a Fault>,
        hosts: impl Fn(&Fault) -> (Vec<usize>, Option<usize>),
    ) -> Self {
        let mut changes = Vec::new();
        for fault in faults {
            let at = Tick(0) + fault.at;
            let end = fault.lasting.map(|lasting| at + lasting);
            let (engines, post) = hosts(fault);
            for engine in engines {
                let (begins, ends) = match fault.kind {
                    FaultKind::Down => (Change::Dies(engine), Change::Returns(engine)),
                    FaultKind::Slow(by) => (Change::Slows(engine, by), Change::Slows(engine, 1.0)),
                };
                changes.push((at, begins));
                changes.extend(end.map(|end| (end, ends)));
            }
            if let (FaultKind::Down, Some(noticed), Some(post)) = (fault.kind, fault.noticed, post)
            {
                changes.push((at + noticed, Change::Leaves(post)));
                changes.extend(end.map(|end| (end + noticed, Change::Joins(post))));
            }
        }
        // Stable: of equal times the one written first comes first.
        changes.sort_by_key(|change| change.0);
        changes.reverse();
        Self { changes }
    }

    /// When the next change is due.
    pub fn next(&self) -> Option<Tick> {
        self.changes.last().map(|change| change.0)
    }

    /// Takes the next change.
    pub fn pop(&mut self) -> Option<(Tick, Change)> {
        self.changes.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_that_is_noticed_is_four_changes_in_order() {
        let second = Span::from_millis(1_000);
        let fault = Fault {
            at: Span(second.0 * 5),
            lasting: Some(Span(second.0 * 10)),
            member: 2,
            part: Part::Whole,
            kind: FaultKind::Down,
            noticed: Some(second),
        };
        let early = Fault {
            at: Span(0),
            lasting: None,
            kind: FaultKind::Slow(3.0),
            ..fault
        };
        let mut timeline = Timeline::new([&fault, &early], |_| (vec![7], Some(2)));
        let mut told = Vec::new();
        while let Some((at, change)) = timeline.pop() {
            told.push((at.0 / second.0, change));
        }
        assert_eq!(
            told,
            [
                (0, Change::Slows(7, 3.0)),
                (5, Change::Dies(7)),
                (6, Change::Leaves(2)),
                (15, Change::Returns(7)),
                (16, Change::Joins(2)),
            ]
        );
    }
}
