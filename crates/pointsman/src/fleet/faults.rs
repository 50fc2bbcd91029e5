//! `--fault engine-3:down@10s+20s,pair-0/prefill:slow3@5s`: what goes wrong, and when.

use anyhow::{Context as _, bail};
use pointsman_core::config::duration::parse_duration;
use pointsman_core::config::fault::did_you_mean;
use pointsman_core::time::Span;
use pointsman_sim::fleet::config::Member;
use pointsman_sim::fleet::fault::{Fault, FaultKind, Part};

/// The faults that these texts mean on these members.
pub(crate) fn faults(
    texts: &[String],
    members: &[Member],
    notice: Option<Span>,
) -> anyhow::Result<Vec<Fault>> {
    let read =
        |text: &String| read(text, members, notice).with_context(|| format!("--fault {text}"));
    texts.iter().map(read).collect()
}

/// `--notice`.
pub(crate) fn notice(text: Option<&str>) -> anyhow::Result<Option<Span>> {
    match text {
        None => Ok(Some(Span::from_millis(1_000))),
        Some("never") => Ok(None),
        Some(text) => Ok(Some(time(text).context("--notice")?)),
    }
}

/// A time in words.
pub(crate) fn time(text: &str) -> anyhow::Result<Span> {
    parse_duration(text).map_err(anyhow::Error::msg)
}

/// What a text says, before anybody looks for the member.
struct Form<'a> {
    name: &'a str,
    part: Part,
    kind: FaultKind,
    at: Span,
    lasting: Option<Span>,
}

/// Refuses texts that are no fault on any fleet.
pub(crate) fn check(texts: &[String]) -> anyhow::Result<()> {
    for text in texts {
        form(text).with_context(|| format!("--fault {text}"))?;
    }
    Ok(())
}

fn form(text: &str) -> anyhow::Result<Form<'_>> {
    let form = "write TARGET:down@10s+20s or TARGET:slow3@10s+20s; without + it lasts";
    let (target, what) = text.split_once(':').context(form)?;
    let (kind, when) = what.split_once('@').context(form)?;
    let (at, lasting) = match when.split_once('+') {
        Some((at, lasting)) => (at, Some(time(lasting)?)),
        None => (when, None),
    };
    let kind = match (kind, kind.strip_prefix("slow")) {
        ("down", _) => FaultKind::Down,
        (_, Some(factor)) => {
            let factor = factor.parse::<f64>().ok();
            let factor = factor.filter(|f| f.is_finite() && *f >= 1.0);
            FaultKind::Slow(factor.context("slow needs a factor of 1 or more, such as slow3")?)
        }
        _ => bail!("'{kind}' is no fault; {form}"),
    };
    let (name, part) = match target.split_once('/') {
        Some((name, "prefill")) => (name, Part::Prefill),
        Some((name, "decode")) => (name, Part::Decode),
        Some((_, part)) => bail!("'{part}' is no part of a pair; there are prefill and decode"),
        None => (target, Part::Whole),
    };
    Ok(Form {
        name,
        part,
        kind,
        at: time(at)?,
        lasting,
    })
}

fn read(text: &str, members: &[Member], noticed: Option<Span>) -> anyhow::Result<Fault> {
    let Form {
        name,
        part,
        kind,
        at,
        lasting,
    } = form(text)?;
    let Some(member) = members.iter().position(|member| member.name == name) else {
        let names = || members.iter().map(|member| member.name.as_str());
        let hint = did_you_mean(name, names()).map_or_else(
            || format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean '{near}'?"),
        );
        bail!("nothing is called '{name}'; {hint}");
    };
    if part != Part::Whole && members[member].prefill.is_none() {
        bail!("{name} is no pair and has no parts");
    }
    Ok(Fault {
        at,
        lasting,
        member,
        part,
        kind,
        noticed,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fleet::engines::members;

    fn one(text: &str) -> anyhow::Result<Fault> {
        let members = members(&["2xh100".to_owned(), "h100:pair=p2p".to_owned()]).unwrap();
        Ok(faults(&[text.to_owned()], &members, None)?[0])
    }

    #[test]
    fn faults_are_read() {
        let fault = one("engine-1:down@10s+1m").unwrap();
        assert_eq!((fault.member, fault.kind), (1, FaultKind::Down));
        assert_eq!(
            (fault.at, fault.lasting),
            (Span::from_millis(10_000), Some(Span::from_millis(60_000)))
        );
        let fault = one("pair-0/prefill:slow2.5@0").unwrap();
        assert_eq!(
            (fault.member, fault.part, fault.lasting),
            (2, Part::Prefill, None)
        );
        assert_eq!(fault.kind, FaultKind::Slow(2.5));
        assert_eq!(notice(Some("never")).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, words) in [
            ("engine-1", "write TARGET:down@10s+20s"),
            ("engine-1:down@soon", "is no duration"),
            ("engine-1:melts@1s", "is no fault"),
            ("engine-1:slow@1s", "slow needs a factor"),
            ("engin-1:down@1s", "did you mean 'engine-1'?"),
            ("engine-1/prefill:down@1s", "is no pair"),
            ("pair-0/gpu:down@1s", "there are prefill and decode"),
        ] {
            let error = format!("{:#}", one(text).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
