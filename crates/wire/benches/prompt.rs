//! What hashing a prompt costs, out of the frames of its body and whole: the walk of the view and the hashes.
//!
//! Run with `cargo bench -p pointsman-wire --bench prompt`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use pointsman_core::index::block_hash::{PromptHashes, Scheme};
use pointsman_wire::request::openai::{ApiKind, read};

/// A body of about `bytes` with the content of one message, made of repetitions of `unit`.
fn one_message(unit: &str, bytes: usize) -> String {
    let content = unit.repeat(bytes / unit.len());
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{content}"}}],"stream":true}}"#)
}

fn prompts(c: &mut Criterion) {
    let kib = 1024;
    let words = "The quick brown fox jumps over the lazy dog; it does so often. ";
    let messages: Vec<String> = (0..1000)
        .map(|n| format!(r#"{{"role":"user","content":"message {n} of a long conversation, and what was said in it, word for word: {words}{words}"}}"#))
        .collect();
    let bodies = [
        ("4 KiB chat", one_message(words, 4 * kib)),
        ("200 KiB string", one_message(words, 200 * kib)),
        (
            "200 KiB in 1,000 messages",
            format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(",")),
        ),
        (
            "200 KiB, 5 % escapes",
            one_message(r"nineteen plain byte\n", 200 * kib),
        ),
        (
            "200 KiB, 5 % angles",
            one_message("nineteen plain byte<", 200 * kib),
        ),
    ];
    let max_blocks = u32::MAX;
    let schemes = [
        (
            "64 bytes",
            Scheme::Bytes {
                block: 64,
                max_blocks,
            },
        ),
        (
            "64 tokens",
            Scheme::Tokens {
                block: 64,
                max_blocks,
            },
        ),
    ];
    let mut group = c.benchmark_group("prompt");
    let mut hashes = PromptHashes::default();
    for (name, body) in &bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        for (cut, size) in [("whole", body.len()), ("16 KiB frames", 16 * kib)] {
            let frames: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            let facts = read(ApiKind::ChatCompletions, &frames).expect("the body is valid");
            for (scheme_name, scheme) in schemes {
                group.bench_function(format!("{name}, {scheme_name}, {cut}"), |b| {
                    b.iter(|| {
                        hashes.compute(scheme, "m", "", black_box(&facts.prompt_view(&frames)))
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, prompts);
criterion_main!(benches);
