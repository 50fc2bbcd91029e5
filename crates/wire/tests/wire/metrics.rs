//! Metrics pages: no page, however broken, makes a value that scheduling could not stand.

use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::{Readings, parse};
use proptest::prelude::*;

fn sound(readings: &Readings) -> bool {
    let counts = [readings.waiting, readings.running, readings.start_time];
    counts
        .into_iter()
        .flatten()
        .all(|value| value.is_finite() && value >= 0.0)
        && readings
            .kv_usage
            .is_none_or(|usage| (0.0..=1.0).contains(&usage))
        && readings.block_size != Some(0)
        && readings.num_blocks != Some(0)
}

fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "vllm:num_requests_waiting",
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "vllm:cache_config_info",
        "process_start_time_seconds",
        "vllm:other_total",
        "# TYPE x",
    ]);
    let labels = prop::sample::select(vec![
        "",
        "{}",
        "{a=\"b\"}",
        "{a=\"}\\\"\",block_size=\"16\",num_gpu_blocks=\"9\"}",
        "{block_size=\"-1\"}",
        "{a=\"",
        "{a=b}",
        "{num_gpu_blocks=\"NaN\"",
        "{=}",
        "{\\",
    ]);
    let value = prop::sample::select(vec![
        "",
        " 1",
        " 0.5",
        "\t7",
        " NaN",
        " +Inf",
        " -Inf",
        " -1",
        " 1e308",
        " 1e-320",
        " 1 5",
        " 1 NaN",
        " 3 # {t=\"x\"} 1",
        " x",
        " 0x10",
        " 1_0",
        " 1 2 3",
    ]);
    let end = prop::sample::select(vec!["\n", "\r\n", "\n\n", ""]);
    (name, labels, value, end)
        .prop_map(|(name, labels, value, end)| [name, labels, value, end].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn broken_pages_make_no_bad_value(lines in prop::collection::vec(line(), 0..12), at in any::<prop::sample::Index>(), byte: u8) {
        let mut page = lines.concat().into_bytes();
        prop_assert!(parse(Dialect::Vllm, &page).ok().is_none_or(|readings| sound(&readings)));
        if !page.is_empty() {
            let at = at.index(page.len());
            page[at] = byte;
            prop_assert!(parse(Dialect::Vllm, &page).ok().is_none_or(|readings| sound(&readings)));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (dialect, _) in Dialect::ALL {
            prop_assert!(parse(dialect, &bytes).ok().is_none_or(|readings| sound(&readings)));
        }
    }
}
