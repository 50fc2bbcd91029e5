//! The target `endpoints` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::endpoints::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
