//! The target `http2` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::http2::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
