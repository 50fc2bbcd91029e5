//! The target `prompt` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::prompt::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
