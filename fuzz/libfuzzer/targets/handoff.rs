//! The target `handoff` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::handoff::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
