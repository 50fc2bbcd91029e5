//! Cache hits over the last minute, five minutes and hour, by endpoint, out of counts that only grow.
//!
//! Once a second the counts are looked at; the last minute's looks are kept, and one in sixty for the last hour. A
//! window is the difference between now and the oldest look within it, so a process younger than the window shows
//! what there is.

use std::collections::{HashMap, VecDeque};

use pointsman_core::model::slots::Slot;

/// Looks of the fine ring, a second apart, and of the coarse one, a minute apart.
const LOOKS: usize = 60;

/// Prompt tokens of an endpoint's answers: all, those believed to be cached, those that were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hits {
    /// All.
    pub prompt: u64,
    /// Believed to be cached at the pick.
    pub predicted: u64,
    /// Cached, as the engine says.
    pub actual: u64,
}

impl Hits {
    /// Adds the counts of another worker.
    pub fn add(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.predicted += other.predicted;
        self.actual += other.actual;
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_sub(earlier.prompt),
            predicted: self.predicted.saturating_sub(earlier.predicted),
            actual: self.actual.saturating_sub(earlier.actual),
        }
    }
}

/// The counts of all endpoints at one look.
pub type Look = HashMap<Slot, Hits, foldhash::fast::RandomState>;

/// The windows that are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
}

impl Window {
    /// All windows by their names.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Minute, "1m"),
        (Self::FiveMinutes, "5m"),
        (Self::Hour, "1h"),
    ];
}

/// The looks that are kept.
#[derive(Debug, Default)]
pub struct HitWindows {
    fine: VecDeque<Look>,
    coarse: VecDeque<Look>,
    looks: u64,
}

impl HitWindows {
    /// Takes in the counts of this second.
    pub fn look(&mut self, now: Look) {
        if self.looks.is_multiple_of(LOOKS as u64) {
            keep(&mut self.coarse, now.clone());
        }
        self.looks += 1;
        keep(&mut self.fine, now);
    }

    /// What an endpoint's answers of a window hit.
    pub fn within(&self, window: Window, slot: Slot) -> Hits {
        let from = match window {
            Window::Minute => self.fine.front(),
            Window::FiveMinutes => self.coarse.get(self.coarse.len().saturating_sub(5)),
            Window::Hour => self.coarse.front(),
        };
        let at = |look: Option<&Look>| look.and_then(|look| look.get(&slot)).copied();
        let latest = at(self.fine.back()).unwrap_or_default();
        latest.since(at(from).unwrap_or_default())
    }
}

fn keep(ring: &mut VecDeque<Look>, look: Look) {
    if ring.len() == LOOKS {
        ring.pop_front();
    }
    ring.push_back(look);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(actual: u64) -> Look {
        let hits = Hits {
            prompt: actual * 2,
            predicted: actual,
            actual,
        };
        [(Slot(3), hits)].into_iter().collect()
    }

    #[test]
    fn a_window_shows_what_grew_within_it() {
        let mut windows = HitWindows::default();
        assert_eq!(windows.within(Window::Minute, Slot(3)), Hits::default());
        // One token a second, for ten minutes.
        for second in 0..600 {
            windows.look(look(second));
        }
        let actual = |window| windows.within(window, Slot(3)).actual;
        assert_eq!(actual(Window::Minute), 59);
        assert_eq!(actual(Window::FiveMinutes), 599 - 300);
        assert_eq!(actual(Window::Hour), 599);
        assert_eq!(windows.within(Window::Hour, Slot(3)).prompt, 2 * 599);
        assert_eq!(windows.within(Window::Hour, Slot(4)), Hits::default());
    }

    #[test]
    fn counts_that_start_anew_give_nothing_negative() {
        let mut windows = HitWindows::default();
        windows.look(look(100));
        windows.look(look(5));
        assert_eq!(windows.within(Window::Minute, Slot(3)), Hits::default());
    }
}
