//! Answers as they pass: the same facts however they are cut, and nothing that makes a scanner fall.

use pointsman_wire::models;
use pointsman_wire::reply::{ReplyFacts, ReplyScanner};
use proptest::prelude::*;

fn scan(content_type: &str, pieces: &[&[u8]]) -> ReplyFacts {
    let mut scanner = ReplyScanner::new(content_type);
    pieces.iter().for_each(|piece| scanner.chunk(piece));
    scanner.finish()
}

fn event() -> impl Strategy<Value = String> {
    let data = prop::sample::select(vec![
        "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{ [DONE]\"}}]}",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":3}}}",
        "data: {\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":8,\"prompt_tokens_details\":null}}",
        "data: {\"usage\":null}",
        "data: {\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1}}",
        "data: {\"usage\":\"usage\"}",
        ": ping",
        "event: x",
        "data: [DONE]",
        "data: [DONE",
        "\"usage",
        "",
    ]);
    (data, prop::sample::select(vec!["\n\n", "\r\n\r\n", "\n"]))
        .prop_map(|(data, end)| format!("{data}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_cut_changes_nothing(
        events in prop::collection::vec(event(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let answer = events.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
        for content_type in ["text/event-stream", "application/json; charset=utf-8"] {
            prop_assert_eq!(scan(content_type, &pieces), scan(content_type, &[&answer]));
        }
    }

    #[test]
    fn random_bytes_never_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        scan("text/event-stream", &pieces);
        scan("application/json", &pieces);
        serde_json::from_slice::<serde_json::Value>(&models::merge(&pieces).body).unwrap();
    }
}
