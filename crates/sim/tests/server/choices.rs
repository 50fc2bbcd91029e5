//! Several choices in one answer, and answers that are tool calls.

use super::*;

fn weather(choice: Value) -> Value {
    json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "How is the weather?"}],
        "tools": [{"type": "function", "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        }}],
        "tool_choice": choice,
    })
}

#[tokio::test]
async fn a_required_tool_is_called() {
    let bench = Bench::start(&[]);
    let whole = bench.chat(weather(json!("required")), "x").await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&call["type"], &call["function"]["name"]),
        (&json!("function"), &json!("get_weather"))
    );
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string(), "{arguments}");

    let mut body = weather(json!({"type": "function", "function": {"name": "get_weather"}}));
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let events = bench.chat(body, "x").await.events();
    let mut said = String::new();
    for event in &events {
        if let Some(call) = event["choices"][0]["delta"]["tool_calls"].get(0) {
            said += call["function"]["arguments"].as_str().unwrap();
        }
    }
    assert!(
        serde_json::from_str::<Value>(&said).unwrap()["city"].is_string(),
        "{said}"
    );
    let last = &events[events.len() - 2]["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
    let usage = &events[events.len() - 1]["usage"];
    assert_eq!(
        usage["completion_tokens"].as_u64().unwrap() as usize,
        events.len() - 3
    );

    let mut cut = weather(json!("required"));
    cut["max_tokens"] = 2.into();
    let cut = bench.chat(cut, "x").await.json();
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    let text = bench.chat(weather(json!("auto")), "x").await.json();
    assert!(text["choices"][0]["message"]["content"].is_string());
    let wrong = bench.chat(weather(json!("always")), "x").await;
    assert_eq!(wrong.json()["error"]["param"], "tool_choice");
}

#[tokio::test]
async fn several_prompts_and_choices_come_in_one_answer() {
    let bench = Bench::start(&[]);
    let body = json!({"prompt": ["a b", "c"], "n": 2, "max_tokens": 3});
    let whole = bench.post("/v1/completions", &body).await.json();
    let choices = whole["choices"].as_array().unwrap();
    let indices: Vec<_> = choices
        .iter()
        .map(|choice| choice["index"].as_u64())
        .collect();
    assert_eq!(indices, [Some(0), Some(1), Some(2), Some(3)]);
    assert_ne!(choices[0]["text"], choices[1]["text"], "choices differ");
    let usage = &whole["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(3), &json!(12))
    );

    let mut streamed = hello(3);
    streamed["n"] = 2.into();
    streamed["stream"] = true.into();
    let events = bench.chat(streamed, "x").await.events();
    for index in 0..2 {
        let own: Vec<_> = events
            .iter()
            .filter(|e| e["choices"][0]["index"] == index)
            .collect();
        assert_eq!(own.len(), 5, "role, three tokens, the end");
        assert_eq!(own[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(own[4]["choices"][0]["finish_reason"], "length");
    }
    let many = json!({"prompt": "a", "n": 257});
    let refused = bench.post("/v1/completions", &many).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_response_is_a_message_or_a_call() {
    let bench = Bench::start(&[]);
    let respond = async |body: Value| bench.post("/v1/responses", &body).await;
    let body = json!({"model": MODEL, "input": "Hello", "instructions": "Be brief", "max_output_tokens": 4});
    let answer = respond(body).await.json();
    assert_eq!(
        (&answer["object"], &answer["status"]),
        (&json!("response"), &json!("incomplete"))
    );
    let text = &answer["output"][0]["content"][0];
    assert_eq!(text["type"], "output_text");
    assert!(!text["text"].as_str().unwrap().is_empty());
    assert_eq!(answer["usage"]["output_tokens"], 4);
    let messages = json!([{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]);
    let answer = respond(json!({"input": messages})).await.json();
    assert_eq!(answer["status"], "completed");
    let tool = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let body = json!({"input": "x", "tools": [tool], "tool_choice": "required"});
    let call = &respond(body).await.json()["output"][0];
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("f"))
    );
    for wrong in [
        json!({}),
        json!({"input": "x", "stream": true}),
        json!({"input": 7}),
    ] {
        assert_eq!(respond(wrong).await.status, StatusCode::BAD_REQUEST);
    }
}
