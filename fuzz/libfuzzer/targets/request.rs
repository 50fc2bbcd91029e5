//! The target `request` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::request::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
