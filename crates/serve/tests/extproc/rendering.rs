//! Token ids from a model server: they take the place of the estimate, and the decision does without where they fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use pointsman_wire::extproc::grpc::Outbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::{Rig, Talk, destination};
use crate::tongue::{asked, heard, line, post};

/// A server that gives every request this answer, and what it was asked.
async fn server(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            noted
                .lock()
                .push(String::from_utf8_lossy(&text).into_owned());
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all((head + answer).as_bytes()).await;
        }
    });
    (address, seen)
}

fn rig(address: &str) -> Rig {
    let config = format!(
        "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: token-producer
  parameters: {{modelName: real, vllm: {{url: 'http://{address}', timeout: 60s}}}}
- type: context-length-aware
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{{pluginRef: context-length-aware}}]
"
    );
    let range = |range| ("llm-d.ai/context-length-range", range);
    Rig::labelled(
        &["10.0.0.1:8000", "10.0.0.2:8000"],
        &[range("0-10"), range("11-100")],
        &config,
        Default::default(),
    )
}

async fn decided(talk: &mut Talk) -> Vec<String> {
    let mut out = Outbox::default();
    while let Some(waiting) = talk.conversation.waiting() {
        let answer = waiting.await;
        talk.turn = talk.conversation.answered(answer, &mut out);
    }
    heard(&mut out).iter().map(line).collect()
}

/// Twenty-five bytes, which an estimate takes for seven tokens.
const BODY: &str = r#"{"model":"m","prompt":"what a pleasant prompt is"}"#;

#[tokio::test]
async fn the_server_s_token_ids_are_what_counts() {
    let (address, seen) =
        server(r#"[{"token_ids":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}]"#).await;
    let rig = rig(&address);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    assert!(talk.say(asked(BODY, true)).is_empty());
    let lines = decided(&mut talk).await;
    assert_eq!(destination(&lines), "10.0.0.2:8000".parse().unwrap());
    assert_eq!(lines[1], format!("request_body body={BODY} end"));
    let seen = seen.lock().clone();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].starts_with("POST /v1/completions/render HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    assert!(
        seen[0].ends_with(&BODY.replace("\"m\"", "\"real\"")),
        "{}",
        seen[0]
    );
    assert_eq!(rig.router.counts.rendered.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_an_answer_the_estimate_stands() {
    for answer in ["nonsense", r#"{"token_ids":[]}"#] {
        let (address, _) = server(answer).await;
        let rig = rig(&address);
        let mut talk = rig.talk();
        talk.say(post("/v1/chat/completions", "id", &[]));
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        talk.say(asked(chat, true));
        let lines = decided(&mut talk).await;
        assert_eq!(destination(&lines), "10.0.0.1:8000".parse().unwrap());
        assert_eq!(rig.router.counts.not_rendered.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn what_no_server_renders_does_not_wait() {
    let rig = rig("127.0.0.1:1");
    let mut talk = rig.talk();
    talk.say(post("/v1/embeddings", "id", &[]));
    destination(&talk.say(asked(r#"{"model":"m","input":"hi"}"#, true)));
    // Nobody listens there.
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    talk.say(asked(BODY, true));
    destination(&decided(&mut talk).await);
    assert_eq!(rig.router.counts.not_rendered.load(Ordering::Relaxed), 1);
}
