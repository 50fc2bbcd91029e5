//! Model names that have series of their own: the first thousand, the rest together as `other`.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Names with series of their own.
const MOST: usize = 1000;

/// Longer names are `other` at once: a client chooses them, and they are kept.
pub const LONGEST: usize = 256;

/// The names that all workers of a process share.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashSet<Arc<str>>>);

impl Names {
    /// The name to count under.
    pub fn admit(&self, name: &str) -> Arc<str> {
        let other = || Arc::from("other");
        if name.len() > LONGEST {
            return other();
        }
        let mut names = self.0.lock();
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        if names.len() >= MOST {
            return other();
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thousand_have_their_own_and_keep_it() {
        let names = Names::default();
        for n in 0..10_000 {
            let expected = if n < MOST {
                format!("m{n}")
            } else {
                "other".to_owned()
            };
            assert_eq!(*names.admit(&format!("m{n}")), *expected);
        }
        assert_eq!(&*names.admit("m7"), "m7");
        assert_eq!(&*Names::default().admit(&"x".repeat(257)), "other");
    }
}
