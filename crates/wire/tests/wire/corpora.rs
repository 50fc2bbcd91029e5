//! The files under `corpus/`: what is in `good` is read, what is in `bad` is refused.

use bytes::Bytes;
use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::parse;
use pointsman_wire::reply::ReplyScanner;
use pointsman_wire::request::openai::{ApiKind, read};
use std::path::Path;

fn each(folder: &str, mut look: impl FnMut(&str, Vec<u8>)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        look(
            path.file_name().unwrap().to_str().unwrap(),
            std::fs::read(&path).unwrap(),
        );
        seen += 1;
    }
    assert!(seen > 0, "{} is empty", folder.display());
}

/// The kind is the first word of the file name.
fn kind(name: &str) -> ApiKind {
    match name.split('-').next() {
        Some("chat") => ApiKind::ChatCompletions,
        Some("completion") => ApiKind::Completions,
        Some("embedding") => ApiKind::Embeddings,
        Some("response") => ApiKind::Responses,
        _ => panic!("{name}: begin the name with chat-, completion-, embedding- or response-"),
    }
}

#[test]
fn requests() {
    for (folder, good) in [("request/good", true), ("request/bad", false)] {
        each(folder, |name, body| {
            for size in [1, 5, 4096] {
                let frames: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
                let read = read(kind(name), &frames);
                assert_eq!(read.is_ok(), good, "{folder}/{name}: {read:?}");
            }
        });
    }
}

#[test]
fn metrics_pages() {
    each("metrics", |name, page| {
        let readings = parse(Dialect::Vllm, &page);
        assert_eq!(
            readings.is_err(),
            name.starts_with("not-"),
            "{name}: {readings:?}"
        );
        if name.starts_with("good-") {
            let readings = readings.unwrap();
            assert_eq!(readings.problems, 0, "{name}: {readings:?}");
            assert!(
                readings.waiting.is_some() && readings.running.is_some(),
                "{name}: {readings:?}"
            );
            assert!(
                readings.kv_usage.is_some() && readings.block_size.is_some(),
                "{name}: {readings:?}"
            );
        }
    });
}

/// Answers whose usage cannot be believed; they must be passed over in silence.
#[test]
fn replies() {
    each("reply", |name, answer| {
        let content_type = if name.ends_with(".sse") {
            "text/event-stream"
        } else {
            "application/json"
        };
        for size in [1, 7, 4096] {
            let mut scanner = ReplyScanner::new(content_type);
            answer.chunks(size).for_each(|chunk| scanner.chunk(chunk));
            assert_eq!(scanner.finish().usage, None, "{name} by {size}");
        }
    });
}
