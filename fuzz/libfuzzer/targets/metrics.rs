//! The target `metrics` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::metrics::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
