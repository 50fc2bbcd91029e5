//! Which timing model the flags ask for, and its times.

use std::time::Duration;

use pointsman_core::time::Span;

use crate::engine::config::{ReferenceTiming, Timing};
use crate::engine::preset::Preset;
use crate::engine::transfer::TransferModel;
use crate::flags::{Connector, LatencyModel, ReferenceFlags, SimConfig};
use crate::settings::fault::SettingsError;

/// What moving KV costs: the connector's preset, or the times that are given.
pub(crate) fn transfer(
    config: &SimConfig,
    connector: Connector,
) -> Result<TransferModel, SettingsError> {
    let name = config.kv_transfer.as_deref().unwrap_or(match connector {
        Connector::None => "none",
        Connector::P2pNccl => "p2p-nvlink",
        Connector::SharedStorage => "fs",
        Connector::Nixl => "rdma",
    });
    let preset =
        TransferModel::by_name(name).ok_or_else(|| SettingsError::Transfer(name.to_owned()))?;
    let given = &config.reference;
    Ok(
        match (
            given.kv_cache_transfer_latency,
            given.kv_cache_transfer_time_per_token,
        ) {
            (None, None) => preset,
            (setup, per_token) => TransferModel {
                name: "custom",
                setup: span(setup.unwrap_or_default()),
                bandwidth: f64::INFINITY,
                passes: 1.0,
                per_token: span(per_token.unwrap_or_default()),
            },
        },
    )
}

/// What computing costs, by the one model or the other.
pub(crate) fn timing(config: &SimConfig, preset: &Preset) -> Result<Timing, SettingsError> {
    let chosen = chooses_reference(&config.reference);
    let reference = match (config.latency_model, chosen) {
        (Some(LatencyModel::Roofline), Some(flag)) => return Err(SettingsError::OtherModel(flag)),
        (Some(model), _) => model == LatencyModel::Reference,
        (None, Some(_)) => true,
        (None, None) => preset.reference.is_some(),
    };
    if !reference {
        let roofline = preset.roofline.clone();
        return roofline
            .map(Timing::Roofline)
            .ok_or_else(|| SettingsError::NoRoofline(preset.name.to_owned()));
    }
    let base = preset.reference.clone().unwrap_or_default();
    reference_timing(&config.reference, &base).map(Timing::Reference)
}

/// The flag, if one is given, that means nothing outside the reference model.
fn chooses_reference(given: &ReferenceFlags) -> Option<&'static str> {
    let calculator = given.latency_calculator.as_deref();
    [
        (
            calculator.is_some_and(|name| !name.is_empty()),
            "--latency-calculator",
        ),
        (given.time_to_first_token.is_some(), "--time-to-first-token"),
        (
            given.time_to_first_token_std_dev.is_some(),
            "--time-to-first-token-std-dev",
        ),
        (given.inter_token_latency.is_some(), "--inter-token-latency"),
        (
            given.inter_token_latency_std_dev.is_some(),
            "--inter-token-latency-std-dev",
        ),
        (given.prefill_overhead.is_some(), "--prefill-overhead"),
        (
            given.prefill_time_per_token.is_some(),
            "--prefill-time-per-token",
        ),
        (
            given.prefill_time_std_dev.is_some(),
            "--prefill-time-std-dev",
        ),
        (
            given.time_factor_under_load.is_some(),
            "--time-factor-under-load",
        ),
    ]
    .into_iter()
    .find_map(|(is_given, flag)| is_given.then_some(flag))
}

fn reference_timing(
    given: &ReferenceFlags,
    base: &ReferenceTiming,
) -> Result<ReferenceTiming, SettingsError> {
    let or = |given: Option<Duration>, base: Span| given.map_or(base, span);
    let factor = given
        .time_factor_under_load
        .unwrap_or_else(|| base.factor_under_load.max(1.0));
    if !factor.is_finite() || factor < 1.0 {
        return Err(SettingsError::FactorUnderLoad(factor));
    }
    let first_token = or(given.time_to_first_token, base.first_token);
    let inter_token = or(given.inter_token_latency, base.inter_token);
    let transfer = or(given.kv_cache_transfer_latency, base.transfer);
    let mut timing = ReferenceTiming {
        first_token,
        first_token_deviation: deviation(
            "time-to-first-token-std-dev",
            given.time_to_first_token_std_dev,
            base.first_token_deviation,
            first_token,
        )?,
        prefill_overhead: or(given.prefill_overhead, base.prefill_overhead),
        prefill_per_token: or(given.prefill_time_per_token, base.prefill_per_token),
        prefill_deviation: or(given.prefill_time_std_dev, base.prefill_deviation),
        inter_token,
        inter_token_deviation: deviation(
            "inter-token-latency-std-dev",
            given.inter_token_latency_std_dev,
            base.inter_token_deviation,
            inter_token,
        )?,
        transfer,
        transfer_per_token: or(
            given.kv_cache_transfer_time_per_token,
            base.transfer_per_token,
        ),
        transfer_deviation: match given.kv_cache_transfer_latency_std_dev {
            Some(_) => deviation(
                "kv-cache-transfer-latency-std-dev",
                given.kv_cache_transfer_latency_std_dev,
                base.transfer_deviation,
                transfer,
            )?,
            None => or(
                given.kv_cache_transfer_time_std_dev,
                base.transfer_deviation,
            ),
        },
        factor_under_load: factor,
    };
    match given.latency_calculator.as_deref() {
        Some("constant") => {
            timing.prefill_overhead = Span(0);
            timing.prefill_per_token = Span(0);
            timing.transfer_per_token = Span(0);
        }
        Some("per-token") => {
            timing.first_token = Span(0);
            timing.transfer = Span(0);
        }
        _ => {}
    }
    Ok(timing)
}

/// A deviation as given, or the preset's within the same bound.
fn deviation(
    flag: &'static str,
    given: Option<Duration>,
    base: Span,
    mean: Span,
) -> Result<Span, SettingsError> {
    let most = Span(mean.0.saturating_mul(3) / 10);
    let Some(found) = given else {
        return Ok(Span(base.0.min(most.0)));
    };
    if span(found) > most {
        let mean = Duration::from_nanos(mean.0);
        return Err(SettingsError::Deviation { flag, found, mean });
    }
    Ok(span(found))
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &[&str]) -> Result<Timing, String> {
        let config = SimConfig::from_flags(flags.iter().copied()).map_err(|e| e.to_string())?;
        let preset = Preset::by_name(&config.preset).unwrap();
        timing(&config, &preset).map_err(|e| e.to_string())
    }

    #[test]
    fn the_reference_flags_choose_the_reference_model() {
        for flag in [
            "--time-to-first-token=200",
            "--inter-token-latency=20",
            "--prefill-overhead=5",
        ] {
            let settings = resolve(&[flag]).unwrap();
            assert!(matches!(settings, Timing::Reference(_)), "{flag}");
            let refused = resolve(&[flag, "--latency-model=roofline"]).unwrap_err();
            assert!(
                refused.contains(flag.split('=').next().unwrap()),
                "{refused}"
            );
        }
        let plain =
            resolve(&["--latency-calculator", "", "--kv-cache-transfer-latency=3"]).unwrap();
        assert!(matches!(plain, Timing::Roofline(_)));
    }

    #[test]
    fn a_calculator_counts_only_its_own_times() {
        let flags = ["--time-to-first-token=200", "--prefill-overhead=5"];
        let timing = |calculator: &str| {
            let flags = [&flags[..], &[calculator]].concat();
            match resolve(&flags).unwrap() {
                Timing::Reference(timing) => (timing.first_token, timing.prefill_overhead),
                Timing::Roofline(_) => panic!("{calculator}"),
            }
        };
        let (first, prefill) = (Span::from_millis(200), Span::from_millis(5));
        assert_eq!(timing("--latency-calculator="), (first, prefill));
        assert_eq!(timing("--latency-calculator=constant"), (first, Span(0)));
        assert_eq!(timing("--latency-calculator=per-token"), (Span(0), prefill));
    }

    #[test]
    fn deviations_and_factors_have_bounds() {
        let refused = |flags: &[&str], part: &str| {
            let fault = resolve(flags).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        };
        let first = "--time-to-first-token=100";
        assert!(resolve(&[first, "--time-to-first-token-std-dev=30"]).is_ok());
        refused(&[first, "--time-to-first-token-std-dev=31"], "30 %");
        refused(
            &["--inter-token-latency-std-dev=1"],
            "--inter-token-latency-std-dev",
        );
        refused(&["--time-factor-under-load=0.5"], "from 1 on");
        refused(&["--time-factor-under-load=NaN"], "from 1 on");
    }
}
