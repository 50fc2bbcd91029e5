//! The target `words` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::words::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
