//! What reading costs: request bodies, answer chunks and metrics pages.
//!
//! Run with `cargo bench -p pointsman-wire`.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::lexicon::Lexicon;
use pointsman_wire::prometheus::reader::Reader;
use pointsman_wire::reply::ReplyScanner;
use pointsman_wire::request::openai::{ApiKind, read};
use std::fmt::Write as _;
use std::hint::black_box;

/// A chat whose one message has a content of about `bytes`, made of repetitions of `unit`.
fn one_message(unit: &str, bytes: usize) -> Bytes {
    let content = unit.repeat(bytes / unit.len());
    let body = format!(
        r#"{{"model":"Qwen/Qwen3-Coder-30B-A3B-Instruct","messages":[{{"role":"user","content":"{content}"}}],"max_tokens":64,"stream":true}}"#
    );
    Bytes::from(body)
}

/// A chat of many messages of about 64 bytes.
fn many_messages(count: usize) -> Bytes {
    let messages: Vec<String> = (0..count)
        .map(|n| format!(r#"{{"role":"user","content":"message {n} of a long conversation"}}"#))
        .collect();
    Bytes::from(format!(
        r#"{{"model":"m","messages":[{}],"stream":true}}"#,
        messages.join(",")
    ))
}

fn cut(body: &Bytes, size: usize) -> Vec<Bytes> {
    (0..body.len())
        .step_by(size)
        .map(|at| body.slice(at..body.len().min(at + size)))
        .collect()
}

fn requests(c: &mut Criterion) {
    let kib = 1024;
    let words = "The quick brown fox jumps over the lazy dog; it does so often. ";
    let bodies = [
        ("200 B chat", one_message("hi ", 80)),
        ("4 KiB chat", one_message(words, 4 * kib)),
        ("64 KiB chat", one_message(words, 64 * kib)),
        ("200 KiB string", one_message(words, 200 * kib)),
        (
            "200 KiB, 5 % escapes",
            one_message(r"nineteen plain byte\n", 200 * kib),
        ),
        ("200 KiB, chinese", one_message("漢字を使う文章", 200 * kib)),
        ("1,000 messages", many_messages(1000)),
    ];
    let mut group = c.benchmark_group("request");
    for (name, body) in bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        let whole = [body.clone()];
        group.bench_function(name, |b| {
            b.iter(|| read(ApiKind::ChatCompletions, black_box(&whole)))
        });
        if body.len() > 100 * kib {
            let frames = cut(&body, 16 * kib);
            let name = format!("{name}, 16 KiB frames");
            group.bench_function(name, |b| {
                b.iter(|| read(ApiKind::ChatCompletions, black_box(&frames)))
            });
        }
    }
    group.finish();
}

fn replies(c: &mut Criterion) {
    let chunk = br#"data: {"id":"chatcmpl-___prefill_addr_p___decode_addr_d_0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1763700000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}

"#;
    let mut scanner = ReplyScanner::new("text/event-stream");
    c.bench_function("reply/sse chunk without usage", |b| {
        b.iter(|| scanner.chunk(black_box(chunk)))
    });
}

/// A page of about 20 kB in vLLM's form, mostly histograms.
fn page() -> String {
    let model = "engine=\"0\",model_name=\"Qwen/Qwen3-Coder-30B-A3B-Instruct\"";
    let mut page = String::new();
    for (name, value) in [
        ("num_requests_running", "2.0"),
        ("num_requests_waiting", "1.0"),
        ("kv_cache_usage_perc", "0.03"),
    ] {
        let _ = writeln!(
            page,
            "# HELP vllm:{name} A gauge.\n# TYPE vllm:{name} gauge\nvllm:{name}{{{model}}} {value}"
        );
    }
    let _ = writeln!(
        page,
        "vllm:cache_config_info{{block_size=\"16\",num_gpu_blocks=\"7000\"}} 1.0"
    );
    let mut n = 0;
    while page.len() < 20_000 {
        n += 1;
        let _ = writeln!(
            page,
            "vllm:time_to_first_token_seconds_bucket{{{model},le=\"{n}\"}} {n}.0"
        );
    }
    page
}

fn pages(c: &mut Criterion) {
    let page = Bytes::from(page());
    let mut reader = Reader::new(Lexicon::of_dialect(Dialect::Vllm).into());
    let mut group = c.benchmark_group("metrics");
    group.throughput(Throughput::Bytes(page.len() as u64));
    for (name, frames) in [
        ("20 kB page", vec![page.clone()]),
        ("20 kB page, 4 KiB frames", cut(&page, 4096)),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                for frame in black_box(&frames) {
                    reader.feed(frame);
                }
                reader.finish()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, requests, replies, pages);
criterion_main!(benches);
