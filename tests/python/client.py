"""Drives the gateway with the real openai client and prints what it saw as one JSON document."""

import json
import sys

import openai

base, model = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base + "/v1", api_key="none", max_retries=0, timeout=60)
messages = [{"role": "user", "content": "Hello"}]
seen = {"version": openai.__version__}

chat = client.chat.completions.create(model=model, messages=messages, max_tokens=8)
seen["chat"] = {
    "id": chat.id,
    "content": chat.choices[0].message.content,
    "finish": chat.choices[0].finish_reason,
    "tokens": chat.usage.completion_tokens,
}

parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": " again"}]
listed = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}], max_tokens=4)
seen["parts"] = {"id": listed.id, "tokens": listed.usage.completion_tokens}

text = client.completions.create(model=model, prompt="Hello", max_tokens=8)
seen["completion"] = {"id": text.id, "text": text.choices[0].text, "tokens": text.usage.completion_tokens}

stream = client.chat.completions.create(
    model=model, messages=messages, max_tokens=8, stream=True, stream_options={"include_usage": True}
)
ids, pieces, finish, usage = set(), [], None, None
for chunk in stream:
    ids.add(chunk.id)
    if chunk.usage is not None:
        usage = chunk.usage.completion_tokens
    for choice in chunk.choices:
        if choice.delta.content:
            pieces.append(choice.delta.content)
        finish = choice.finish_reason or finish
seen["stream"] = {"ids": sorted(ids), "pieces": len(pieces), "text": "".join(pieces), "finish": finish, "tokens": usage}

ids, pieces = set(), []
for chunk in client.completions.create(model=model, prompt="Hello", max_tokens=8, stream=True):
    ids.add(chunk.id)
    pieces.extend(choice.text for choice in chunk.choices if choice.text)
seen["completion_stream"] = {"ids": sorted(ids), "pieces": len(pieces)}

seen["models"] = [entry.id for entry in client.models.list()]

raw = client.chat.completions.with_raw_response.create(
    model=model, messages=messages, max_tokens=4, extra_headers={"x-kv-backend": "fs", "x-request-id": "from-python"}
)
seen["raw"] = {"request_id": raw.headers.get("x-request-id"), "id": raw.parse().id}

try:
    client.chat.completions.create(model="no-such-model", messages=messages)
    seen["unknown_model"] = None
except openai.APIStatusError as error:
    seen["unknown_model"] = {"class": type(error).__name__, "status": error.status_code, "body": error.body}

try:
    client.chat.completions.create(model=model, messages="not a list", max_tokens=4)
    seen["bad_request"] = None
except openai.APIStatusError as error:
    seen["bad_request"] = {"class": type(error).__name__, "status": error.status_code, "body": error.body}

print(json.dumps(seen))
