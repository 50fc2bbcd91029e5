//! How a metric family describes itself: one static value that the page, the docs and the checks read.

/// What a family's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

impl Kind {
    /// The word in a `TYPE` line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The first generation's name of a family.
#[derive(Clone, Copy, Debug)]
pub struct Legacy {
    /// The name.
    pub name: &'static str,
    /// Its labels, each with the place of its value among the family's own labels.
    pub labels: &'static [(&'static str, usize)],
}

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What it is, for the `HELP` line and the docs.
    pub help: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// The first generation's name, if it had one.
    pub legacy: Option<Legacy>,
    /// Whether series that a name does not tell apart are added up; else the first one is shown.
    pub sums: bool,
}

impl Family {
    /// A counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            help,
            kind: Kind::Counter,
            labels,
            legacy: None,
            sums: true,
        }
    }

    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            kind: Kind::Gauge,
            sums: false,
            ..Self::counter(name, labels, help)
        }
    }

    /// A histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            kind: Kind::Histogram,
            ..Self::counter(name, labels, help)
        }
    }

    /// The same, a count of which parts may be added up.
    pub const fn summed(self) -> Self {
        Self { sums: true, ..self }
    }

    /// The same with the name that it had in the first generation.
    pub const fn formerly(
        self,
        name: &'static str,
        labels: &'static [(&'static str, usize)],
    ) -> Self {
        Self {
            legacy: Some(Legacy { name, labels }),
            ..self
        }
    }
}

/// All families as a page of Markdown.
pub fn markdown(families: &[&Family]) -> String {
    let mut page = String::from(
        "# Metrics\n\nServed on the admin port under `/metrics`. Names in the second column are those of the first generation; \
         they are left out with `pointsman: {metrics: {legacyNames: false}}`.\n\n\
         | name | formerly | type | labels | what it is |\n|---|---|---|---|---|\n",
    );
    for family in families {
        let labels = family.labels.join(", ");
        let formerly = family.legacy.as_ref().map_or_else(String::new, |legacy| {
            let labels: Vec<&str> = legacy.labels.iter().map(|(name, _)| *name).collect();
            match labels.join(", ").as_str() {
                "" => format!("`{}`", legacy.name),
                labels => format!("`{}` ({labels})", legacy.name),
            }
        });
        page += &format!(
            "| `{}` | {formerly} | {} | {labels} | {} |\n",
            family.name,
            family.kind.word(),
            family.help
        );
    }
    page
}
