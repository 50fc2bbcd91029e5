//! Upper bounds of histogram buckets, as the reference has them.

/// Latencies of whole requests, in seconds.
pub static LATENCY: [f64; 35] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0,
    1200.0, 1800.0, 2700.0, 3600.0,
];

/// Times to the first token, in seconds: [`LATENCY`] up to two minutes.
pub static FIRST_TOKEN: [f64; 24] = {
    let mut bounds = [0.0; 24];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = LATENCY[at];
        at += 1;
    }
    bounds
};

/// Sizes of requests in bytes: powers of two from 64 to 2^30.
pub static REQUEST_BYTES: [f64; 25] = {
    let mut bounds = [64.0; 25];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
};

/// Sizes of answers in bytes. The reference has 32778 where one would expect 32768, and so has this.
pub static RESPONSE_BYTES: [f64; 15] = [
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
    32778.0, 65536.0,
];

/// Tokens of prompts.
pub static INPUT_TOKENS: [f64; 19] = [
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
    32778.0, 65536.0, 131072.0, 262144.0, 524288.0, 1048576.0,
];

/// Tokens generated.
pub static OUTPUT_TOKENS: [f64; 12] = [
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
];

/// Seconds that a gateway's stream is open.
pub static STREAM: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// What the picker itself takes, in seconds.
pub static DECISION: [f64; 10] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
];

/// Seconds per output token of whole requests.
pub static PER_TOKEN: [f64; 13] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// Seconds per output token after the first.
pub static STREAMED_PER_TOKEN: [f64; 19] = [
    0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5,
    0.6, 0.8, 1.0, 2.0,
];

/// Seconds between two parts of a streamed answer.
pub static BETWEEN_TOKENS: [f64; 15] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0,
];

/// Seconds from a request's head to its decision.
pub static REQUEST_PROCESSING: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Seconds spent on what follows an answer.
pub static RESPONSE_PROCESSING: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Seconds until a request that is to give way has ended.
pub static GIVING_WAY: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Seconds that a request waits to be let in.
pub static QUEUED: [f64; 16] = [
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Shares from 0 to 1.
pub static SHARE: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Bytes of a prompt found in a prefix index.
pub static HIT_BYTES: [f64; 14] = [
    0.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0,
    65536.0,
];

/// How far off a predicted time was, in seconds.
pub static OFF_BY: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise() {
        let all: [&[f64]; 16] = [
            &QUEUED,
            &LATENCY,
            &FIRST_TOKEN,
            &REQUEST_BYTES,
            &RESPONSE_BYTES,
            &INPUT_TOKENS,
            &OUTPUT_TOKENS,
            &DECISION,
            &PER_TOKEN,
            &STREAMED_PER_TOKEN,
            &BETWEEN_TOKENS,
            &REQUEST_PROCESSING,
            &RESPONSE_PROCESSING,
            &SHARE,
            &HIT_BYTES,
            &OFF_BY,
        ];
        for bounds in all {
            assert!(
                bounds.windows(2).all(|pair| pair[0] < pair[1]),
                "{bounds:?}"
            );
        }
        assert_eq!(REQUEST_BYTES.last(), Some(&1_073_741_824.0));
        assert_eq!(FIRST_TOKEN.last(), Some(&120.0));
    }
}
