//! The target `config` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::config::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
