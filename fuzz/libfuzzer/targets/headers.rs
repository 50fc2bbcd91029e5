//! The target `headers` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::headers::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
