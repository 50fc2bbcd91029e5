//! A request's headers as scheduling sees them: borrowed from whatever map the door keeps them in.

use std::fmt;
use std::ops::ControlFlow;

/// Headers that a door holds. Names are given and compared in lower case.
pub trait HeaderView: Sync {
    /// Hands the values of `name` to `take`, in the order received, until it breaks off. A value that is no text is
    /// left out.
    fn values<'s>(&'s self, name: &str, take: &mut dyn FnMut(&'s str) -> ControlFlow<()>);
}

/// The headers of one request; the default has none.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a>(Option<&'a dyn HeaderView>);

impl<'a> Headers<'a> {
    /// What this view shows.
    pub const fn of(view: &'a dyn HeaderView) -> Self {
        Self(Some(view))
    }

    /// The first value of the header `name` (in lower case), if it is there.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.find(name, Some)
    }

    /// The value of the cookie `name`, wherever among the `cookie` headers it stands.
    pub fn cookie(self, name: &str) -> Option<&'a str> {
        self.find("cookie", |all| {
            all.split(';').find_map(|one| {
                let (key, value) = one.split_once('=')?;
                (key.trim() == name).then(|| value.trim().trim_matches('"'))
            })
        })
    }

    fn find(self, name: &str, pick: impl Fn(&'a str) -> Option<&'a str>) -> Option<&'a str> {
        let mut found = None;
        self.0?.values(name, &mut |value| {
            found = pick(value);
            match found {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        });
        found
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers carry credentials.
        f.write_str("Headers(..)")
    }
}

/// Names in lower case with their values.
impl HeaderView for &[(&str, &str)] {
    fn values<'s>(&'s self, name: &str, take: &mut dyn FnMut(&'s str) -> ControlFlow<()>) {
        let _ = self
            .iter()
            .filter(|(key, _)| *key == name)
            .try_for_each(|(_, value)| take(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_and_any_cookie_are_found() {
        let list: &[(&str, &str)] = &[
            ("x-a", "1"),
            ("x-a", "2"),
            ("cookie", "theme=dark; mode"),
            ("cookie", "sid = \"s=1\" ; x=y"),
        ];
        let headers = Headers::of(&list);
        assert_eq!(headers.get("x-a"), Some("1"));
        assert_eq!(headers.get("x-b"), None);
        assert_eq!(headers.cookie("theme"), Some("dark"));
        assert_eq!(headers.cookie("sid"), Some("s=1"));
        assert_eq!(headers.cookie("mode"), None);
        assert_eq!(Headers::default().get("x-a"), None);
        assert_eq!(format!("{headers:?}"), "Headers(..)");
    }
}
