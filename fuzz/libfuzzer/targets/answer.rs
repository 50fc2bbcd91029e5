//! The target `answer` under libFuzzer.

#![no_main]

use pointsman_fuzz::targets::answer::TARGET;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});
