//! The target `http1` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::http1::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
