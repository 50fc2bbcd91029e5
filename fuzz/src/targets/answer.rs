//! Answers of engines: what is seen in them does not depend on how they are cut, and what is passed on is good JSON.

use pointsman_wire::handoff::threshold::{Verdict, verdict};
use pointsman_wire::handoff::transfer::transfer_params;
use pointsman_wire::models::merge;
use pointsman_wire::reply::{ReplyFacts, ReplyScanner};

use crate::cuts::{WAYS, cut, whole};
use crate::shape::Shape;
use crate::target::Target;
use crate::targets::json::{is_json, value};

/// The target.
pub const TARGET: Target = Target {
    name: "answer",
    what: "answers and event streams: usage, id, end, transfer params, lists of models",
    run,
    words: &[
        "data: ",
        "data:",
        "data: [DONE]",
        "[DONE]",
        "\n\n",
        "\r\n\r\n",
        "\r",
        ": ping\n",
        "event: x\n",
        "\"usage\"",
        "\"usage\":",
        "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}",
        "\"prompt_tokens\":",
        "\"completion_tokens\":",
        "\"input_tokens\":1",
        "\"output_tokens\":2",
        "\"prompt_tokens_details\":{\"cached_tokens\":4}",
        "\"usage\":null",
        "\"id\":\"a\"",
        "\"response\":{",
        "\"kv_transfer_params\":{",
        "\"do_remote_prefill\":true",
        "\"remote_engine_id\":\"e\"",
        "\"remote_block_ids\":[1]",
        "\"remote_host\":\"h\"",
        "\"remote_port\":1",
        "\"choices\":[{\"finish_reason\":\"cache_threshold\"}]",
        "\"data\":[",
        "{\"id\":\"m\"}",
        "\\\"usage\\\":",
        "\\u0022",
        "1e999",
        "-1",
        "null",
        "{",
        "}",
        "[",
        "]",
    ],
    also: &["crates/wire/corpus/reply"],
};

const KINDS: [&str; 3] = ["application/json", "text/event-stream", "image/png"];

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let frames = whole(input);
    let ways = WAYS.map(|way| cut(input, way));
    for kind in KINDS {
        let facts = scanned(kind, [input].into_iter());
        for frames in &ways {
            let in_parts = scanned(kind, frames.iter().map(|frame| &frame[..]));
            assert_eq!(facts.usage, in_parts.usage, "{kind}: the chunks matter");
            assert_eq!(facts.id, in_parts.id, "{kind}: the chunks matter");
            assert_eq!(facts, in_parts, "{kind}: the chunks matter");
        }
        if let Some(id) = &facts.id {
            assert!(
                (1..=512 * 4).contains(&id.len()),
                "an id of {} bytes",
                id.len()
            );
        }
        if kind == "image/png" {
            assert_eq!(facts, ReplyFacts::default(), "looked into a picture");
        }
        shape.number(
            u64::from(facts.usage.is_some())
                + 2 * u64::from(facts.done_seen)
                + 4 * u64::from(facts.id.is_some()),
        );
    }
    let params = transfer_params(&frames);
    for frames in &ways {
        assert_eq!(
            params,
            transfer_params(frames),
            "the frames matter to transfer params"
        );
    }
    match params {
        Ok(params) => assert!(
            is_json(&params) && params.first() == Some(&b'{'),
            "no object"
        ),
        Err(why) => shape.word(&why.to_string()),
    }
    for (events, ended) in [(false, true), (true, true), (true, false)] {
        let seen = verdict(&frames, events, ended);
        for frames in &ways {
            assert_eq!(
                seen,
                verdict(frames, events, ended),
                "the frames matter to a verdict"
            );
        }
        assert!(
            !ended || seen != Verdict::Unknown,
            "an answer that has ended is undecided"
        );
        shape.number(seen as u64);
    }
    models(input, &mut shape);
    shape.done()
}

fn scanned<'a>(kind: &str, chunks: impl Iterator<Item = &'a [u8]>) -> ReplyFacts {
    let mut scanner = ReplyScanner::new(kind);
    chunks.for_each(|chunk| scanner.chunk(chunk));
    scanner.finish()
}

fn models(input: &[u8], shape: &mut Shape) {
    let merged = merge(&[input, b"{\"data\":[{\"id\":\"own\"}]}", input]);
    assert!(
        is_json(&merged.body),
        "no JSON: {}",
        String::from_utf8_lossy(&merged.body)
    );
    assert!(
        merged.models >= 1 && matches!(merged.ignored, 0 | 2),
        "{merged:?}"
    );
    if let Some(list) = value(&merged.body) {
        assert_eq!(list["data"].as_array().map(Vec::len), Some(merged.models));
    }
    shape.size(merged.models);
}
