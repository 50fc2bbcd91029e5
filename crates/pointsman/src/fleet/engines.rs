//! `--engine 8xh100:slots=6,2xl40s:pair=fs`: the members of a fleet.

use anyhow::{Context as _, bail};
use pointsman_core::config::fault::did_you_mean;
use pointsman_core::model::endpoint::Labels;
use pointsman_sim::engine::config::{EngineConfig, Timing};
use pointsman_sim::engine::preset::{PRESET_NAMES, Preset};
use pointsman_sim::engine::transfer::TransferModel;
use pointsman_sim::fleet::config::Member;
use pointsman_sim::fleet::host::ROLE;

/// Relative deviation of a step's time, as `pointsman sim` has it.
const JITTER: f64 = 0.03;

/// Most engines of a fleet.
const MOST: usize = 10_000;

/// Names for people in a hurry.
const SHORT: [(&str, &str); 3] = [
    ("h100", "roofline-8b-h100"),
    ("a100", "roofline-8b-a100"),
    ("l40s", "roofline-8b-l40s"),
];

/// How the KV cache of a pair goes: the word, the model of its time, the value of the label `llm-d.ai/kv-backend`.
const WAYS: [(&str, &str, &str); 4] = [
    ("p2p", "p2p-nvlink", "nvlink"),
    ("fs", "fs", "fs"),
    ("eth", "eth", "eth"),
    ("rdma", "rdma", "rdma"),
];

/// The members that these groups make. Names are `engine-N`, `pair-N`, `prefill-N` and `decode-N`, counted from 0.
pub(crate) fn members(groups: &[String]) -> anyhow::Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    for group in groups {
        let (count, group) = Group::read(group).with_context(|| format!("--engine {group}"))?;
        if members.len() + count > MOST {
            bail!("--engine: more than {MOST} members; use fewer");
        }
        for _ in 0..count {
            let start = format!("{}-", group.kind());
            let number = members
                .iter()
                .filter(|m| m.name.starts_with(&start))
                .count();
            members.push(group.member(&format!("{start}{number}")));
        }
    }
    Ok(members)
}

/// Engines of one kind.
struct Group {
    engine: EngineConfig,
    slow: f64,
    role: Option<&'static str>,
    way: Option<(TransferModel, &'static str)>,
}

impl Group {
    fn read(text: &str) -> anyhow::Result<(usize, Self)> {
        let mut parts = text.split(':');
        let head = parts.next().unwrap_or_default();
        let (count, preset) = match head.split_once('x') {
            Some((count, preset))
                if count.bytes().all(|b| b.is_ascii_digit()) && !count.is_empty() =>
            {
                let count: usize = count.parse().context("the count is too large")?;
                if count == 0 {
                    bail!("the count is a number above 0");
                }
                (count, preset)
            }
            _ => (1, head),
        };
        let mut group = Self {
            engine: engine(preset)?,
            slow: 1.0,
            role: None,
            way: None,
        };
        for part in parts {
            group.set(part)?;
        }
        if group.role.is_some() && group.way.is_some() {
            bail!("an engine is one of a pair or has a role, not both");
        }
        Ok((count, group))
    }

    fn set(&mut self, part: &str) -> anyhow::Result<()> {
        let Some((key, value)) = part.split_once('=') else {
            bail!("'{part}' is no key=value; there are slots, blocks, slow, role and pair");
        };
        let whole = || {
            let number = value.parse::<u32>().ok().filter(|n| *n > 0);
            number.with_context(|| format!("{key} is a whole number above 0, not '{value}'"))
        };
        match key {
            "slots" => self.engine.max_running = whole()?,
            "blocks" => self.engine.kv_blocks = whole()?,
            "slow" => {
                let factor = value.parse::<f64>().ok();
                let factor = factor.filter(|f| f.is_finite() && *f > 0.0);
                self.slow =
                    factor.with_context(|| format!("slow is a number above 0, not '{value}'"))?;
            }
            "role" => {
                let known = ["prefill", "decode"]
                    .into_iter()
                    .find(|known| *known == value);
                self.role = Some(
                    known.with_context(|| format!("role is prefill or decode, not '{value}'"))?,
                );
            }
            "pair" => {
                let way = WAYS.into_iter().find(|way| way.0 == value);
                let (_, model, label) =
                    way.with_context(|| format!("pair is p2p, fs, eth or rdma, not '{value}'"))?;
                let model = TransferModel::by_name(model).context("a way without its model")?;
                self.way = Some((model, label));
            }
            _ => bail!("'{key}' is not known; there are slots, blocks, slow, role and pair"),
        }
        Ok(())
    }

    fn kind(&self) -> &'static str {
        match (self.role, self.way) {
            (Some(role), _) => role,
            (None, Some(_)) => "pair",
            (None, None) => "engine",
        }
    }

    fn member(&self, name: &str) -> Member {
        let mut engine = self.engine.clone();
        let mut labels = Labels::default();
        if let Some(role) = self.role {
            labels = [(ROLE, role)].into_iter().collect();
        }
        let mut prefill = None;
        if let Some((transfer, label)) = self.way {
            labels = [("role", "proxy"), ("llm-d.ai/kv-backend", label)]
                .into_iter()
                .collect();
            prefill = Some(engine.clone());
            engine.transfer = transfer;
        }
        Member {
            labels,
            prefill,
            slow: self.slow,
            ..Member::new(name, &engine)
        }
    }
}

fn engine(name: &str) -> anyhow::Result<EngineConfig> {
    let short = SHORT.iter().find(|short| short.0 == name);
    let full = short.map_or(name, |short| short.1);
    let Some(preset) = Preset::by_name(full) else {
        let known = || {
            PRESET_NAMES
                .into_iter()
                .chain(SHORT.iter().map(|short| short.0))
        };
        let hint = did_you_mean(name, known()).map_or_else(
            || format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean '{near}'?"),
        );
        bail!("'{name}' is no preset; {hint}");
    };
    let (timing, jitter) = match (preset.roofline.clone(), preset.reference.clone()) {
        (Some(roofline), _) => (Timing::Roofline(roofline), JITTER),
        (None, reference) => (Timing::Reference(reference.unwrap_or_default()), 0.0),
    };
    let blocks = preset.kv_blocks(pointsman_sim::fleet::trace::BLOCK_TOKENS);
    Ok(EngineConfig {
        jitter,
        ..EngineConfig::new(timing, preset.kv_bytes, blocks)
    })
}

/// A line for people about members that are alike.
pub(crate) fn described(members: &[Member]) -> Vec<String> {
    let mut lines: Vec<(String, usize, &str)> = Vec::new();
    for member in members {
        let kind = member.name.rsplit_once('-').map_or("", |(kind, _)| kind);
        let timing = match &member.engine.timing {
            Timing::Roofline(_) => "roofline",
            Timing::Reference(_) => "reference timing",
        };
        let mut text = format!(
            "{timing}, {} slots, {} KV blocks",
            member.engine.max_running, member.engine.kv_blocks
        );
        if member.prefill.is_some() {
            text.push_str(&format!(
                ", prefill and decode apart, KV by {}",
                member.engine.transfer.name
            ));
        }
        if (member.slow - 1.0).abs() > f64::EPSILON {
            text.push_str(&format!(", {} times slower", member.slow));
        }
        match lines
            .iter_mut()
            .find(|line| line.0 == text && line.2 == kind)
        {
            Some(line) => line.1 += 1,
            None => lines.push((text, 1, kind)),
        }
    }
    let line = |(text, count, kind): (String, usize, &str)| format!("{count} x {kind}: {text}");
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<Member>> {
        members(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn groups_become_members_with_names_of_their_kind() {
        let members =
            read("2xh100:slots=6:blocks=900,l40s:slow=2,h100:pair=fs,a100:role=prefill,h100")
                .unwrap();
        let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "engine-0",
                "engine-1",
                "engine-2",
                "pair-0",
                "prefill-0",
                "engine-3"
            ]
        );
        assert_eq!(
            (members[0].engine.max_running, members[0].engine.kv_blocks),
            (6, 900)
        );
        assert!((members[2].slow - 2.0).abs() < f64::EPSILON);
        assert_eq!(members[3].engine.transfer.name, "fs");
        assert!(members[3].prefill.is_some());
        assert_eq!(members[3].labels.get("llm-d.ai/kv-backend"), Some("fs"));
        assert_eq!(members[4].labels.get(ROLE), Some("prefill"));
        assert_eq!(described(&members).len(), 5);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, words) in [
            ("0xh100", "the count is a number above 0"),
            ("h10", "did you mean 'h100'?"),
            ("2xh100:slots=0", "slots is a whole number above 0"),
            ("h100:pair=usb", "pair is p2p, fs, eth or rdma"),
            ("h100:slow=nan", "slow is a number above 0"),
            ("h100:colour=red", "there are slots, blocks"),
            ("h100:pair=fs:role=decode", "not both"),
            ("20000xh100", "use fewer"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
