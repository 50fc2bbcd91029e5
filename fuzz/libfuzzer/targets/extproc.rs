//! The target `extproc` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::extproc::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
