"""The gateway's answers, field by field, over a model that says what it is asked to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from llmasos.guide import Guide
from llmasos.outputs import FinishReason
from llmasos_serving.gateway.answer.tool_calls import CallFormat
from llmasos_serving.gateway.answer.tool_grammar import forced_call
from scripted_gateway import scripted_gateway
from scripted_model import Script

Response = Any
"""Of whichever HTTP client Starlette's test client is made from."""
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def client(tiny_llama: Path, script: Script) -> Iterator[TestClient]:
    with scripted_gateway(tiny_llama, script, form=CallFormat.HERMES) as client:
        yield client


def ask(client: TestClient, text: str = "hello there", **fields: Any) -> Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], **fields}
    return client.post("/v1/chat/completions", json=body)


def chunks(response: Response) -> list[dict[str, Any]]:
    """The events of a stream, which must end with [DONE]."""
    assert response.status_code == 200, response.text
    *events, last, nothing = response.text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    return [json.loads(one.removeprefix("data: ")) for one in events if one.startswith("data")]


def refused(response: Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    found: dict[str, Any] = error
    return found


def test_a_whole_answer_has_its_message_its_reason_and_its_usage(client: TestClient) -> None:
    answer = ask(client).json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "tiny"
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "hello there"}
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 4, 9)


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(client: TestClient) -> None:
    found = chunks(ask(client, stream=True))
    assert len({chunk["id"] for chunk in found}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in found]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta["content"] for delta in deltas[1:-1]) == "hello there"
    assert deltas[-1] == {}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in found]
    assert reasons == [None] * (len(found) - 1) + ["stop"]
    assert not any("usage" in chunk for chunk in found)


def test_usage_comes_last_and_without_choices_if_it_is_asked_for(client: TestClient) -> None:
    *_, last = chunks(ask(client, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4


def test_several_answers_each_have_a_reason_and_the_prompt_counts_once(
    client: TestClient, script: Script
) -> None:
    answer = ask(client, n=3, seed=7).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["usage"]["completion_tokens"] == 12
    assert [request.params.seed for request in script.asked] == [7, 8, 9]
    found = chunks(ask(client, n=2, stream=True))
    ended = [c["choices"][0]["index"] for c in found if c["choices"][0]["finish_reason"]]
    assert sorted(ended) == [0, 1]


def test_an_answer_at_its_limit_says_length(client: TestClient, script: Script) -> None:
    script.ends = FinishReason.LENGTH
    assert ask(client).json()["choices"][0]["finish_reason"] == "length"
    cut = ask(client, CALL[:-5], tools=TOOLS).json()["choices"][0]
    assert (cut["finish_reason"], cut["message"]["content"]) == ("length", CALL[:-5])


def test_fields_reach_the_engine(client: TestClient, script: Script) -> None:
    ask(
        client,
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=7,
        stop="END",
        logit_bias={"5": -1},
        presence_penalty=1,
        top_k=-1,
        user="somebody",
        metadata=None,
    )
    params = script.asked[0].params
    assert (params.temperature, params.top_p, params.max_tokens) == (0.5, 0.9, 7)
    assert (params.stop, params.logit_bias, params.top_k) == (("END",), ((5, -1.0),), 0)
    assert params.presence_penalty == 1
    assert "min_p" in params.open_fields
    ask(client)
    assert script.asked[1].params.max_tokens == 512, "as many as fit"


def test_a_call_of_a_tool_is_told_apart(client: TestClient) -> None:
    (choice,) = ask(client, CALL, tools=TOOLS).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    deltas = [c["choices"][0]["delta"] for c in chunks(ask(client, CALL, tools=TOOLS, stream=True))]
    named = [d for d in deltas if "name" in str(d.get("tool_calls", ""))]
    assert len(named) == 1
    unused = ask(client, CALL, tools=TOOLS, tool_choice="none").json()["choices"][0]
    assert (unused["message"]["content"], unused["finish_reason"]) == (CALL, "stop")


def test_tools_without_a_known_format_are_refused(tiny_llama: Path, script: Script) -> None:
    with scripted_gateway(tiny_llama, script) as client:
        assert refused(ask(client, tools=TOOLS), 400)["param"] == "tools"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperatur": 1}, "temperatur", "unknown_field"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hi"}, "messages", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format", "unsupported_parameter"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", None),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "response_format",
            None,
        ),
        ({"tool_choice": "required"}, "tool_choice", None),
        (
            {"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": TOOLS},
            "tool_choice",
            None,
        ),
        ({"stream_options": {"x": 1}}, "stream_options.x", "unknown_field"),
    ],
)
def test_a_wrong_field_is_refused_by_name(
    client: TestClient, fields: dict[str, Any], param: str, code: str | None
) -> None:
    error = refused(ask(client, **fields), 400)
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_log_probabilities_are_asked_for_and_told(client: TestClient, script: Script) -> None:
    whole = ask(client, logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert script.asked[0].params.logprobs == 2
    assert len(whole) == 4
    assert whole[0]["logprob"] == -0.5
    assert [len(token["top_logprobs"]) for token in whole] == [2] * 4
    assert bytes(whole[1]["bytes"]).decode() == whole[1]["token"]
    told = [
        token
        for chunk in chunks(ask(client, logprobs=True, top_logprobs=2, stream=True))
        for token in (chunk["choices"][0]["logprobs"] or {"content": ()})["content"]
    ]
    assert told == whole
    assert ask(client).json()["choices"][0]["logprobs"] is None
    body = {"model": "tiny", "prompt": "abcdef", "logprobs": 1}
    text = client.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]
    assert text["token_logprobs"] == [-0.5, -0.5]
    assert text["text_offset"][0] == 0


@pytest.mark.parametrize(
    ("fields", "guide"),
    [
        ({"response_format": {"type": "json_object"}}, Guide.json()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            Guide.json_schema({"a": 1}),
        ),
        ({"guided_json": {"b": 2}}, Guide.json_schema({"b": 2})),
        ({"guided_regex": "a+"}, Guide.regex("a+")),
        ({"guided_choice": ["a", "b"]}, Guide.choice(["a", "b"])),
        ({"guided_grammar": 'root ::= "a"'}, Guide.grammar('root ::= "a"')),
        ({"response_format": {"type": "text"}}, None),
    ],
)
def test_the_form_of_an_answer_becomes_a_guide(
    client: TestClient, script: Script, fields: dict[str, Any], guide: Guide | None
) -> None:
    assert ask(client, **fields).status_code == 200
    assert script.asked[0].params.guide == guide


def test_a_call_that_must_come_is_guided_in_the_models_format(
    client: TestClient, script: Script
) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        answer = ask(client, CALL, tools=TOOLS, tool_choice=choice).json()
        assert answer["choices"][0]["finish_reason"] == "tool_calls"
    guides = [request.params.guide for request in script.asked]
    assert guides[0] == guides[1] == forced_call([TOOLS[0]["function"]], CallFormat.HERMES)


def test_fields_that_ask_for_nothing_and_null_are_accepted(client: TestClient) -> None:
    nothing: dict[str, Any] = {
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": None,
        "stop": None,
    }
    assert ask(client, **nothing).status_code == 200


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    for body in ("{", "[" * 100_000, "\xff"):
        response = client.post(
            "/v1/chat/completions",
            content=body.encode("latin-1"),
            headers={"content-type": "application/json"},
        )
        refused(response, 400)


def test_another_model_is_not_found(client: TestClient) -> None:
    assert refused(ask(client, model="gpt-4"), 404)["code"] == "model_not_found"
    assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
    assert client.get("/v1/models/tiny").json()["max_model_len"] == 512
    refused(client.get("/v1/models/other"), 404)


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_piece_has_its_status(client: TestClient, stream: bool) -> None:
    error = refused(ask(client, "!wrong", stream=stream), 400)
    assert error["code"] == "context_length_exceeded"
    full = ask(client, "!full", stream=stream)
    assert refused(full, 429)["type"] == "rate_limit_error"
    assert full.headers["retry-after"] == "1"


def test_an_error_in_a_stream_is_an_event_before_the_end(client: TestClient) -> None:
    *_, last = chunks(ask(client, "!late and more", stream=True))
    assert last["error"]["message"] == "something happened"


def test_the_other_answers_end_with_one_that_fails(client: TestClient, script: Script) -> None:
    script.wait_s = 0.01
    refused(ask(client, "!wrong", n=3), 400)
    assert script.cancelled >= 2


def test_a_stream_in_which_nothing_comes_is_kept_alive(tiny_llama: Path, script: Script) -> None:
    script.wait_s = 0.2
    with scripted_gateway(tiny_llama, script, keep_alive_s=0.05, first_piece_s=0.01) as client:
        response = ask(client, "ab", stream=True)
    assert ": keep-alive\n\n" in response.text
    assert len(chunks(response)) == 3


def test_completions_of_several_prompts(client: TestClient) -> None:
    body = {"model": "tiny", "prompt": ["abcd", "xyz"], "n": 2, "echo": True, "max_tokens": 9}
    answer = client.post("/v1/completions", json=body).json()
    assert [choice["text"] for choice in answer["choices"]] == [
        *("abcdabcd", "abcdabcd"),
        *("xyzxyz", "xyzxyz"),
    ]
    assert answer["usage"]["prompt_tokens"] == 10
    found = chunks(client.post("/v1/completions", json={**body, "stream": True}))
    texts = [""] * 4
    for chunk in found:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == [choice["text"] for choice in answer["choices"]]


def test_text_becomes_tokens_and_tokens_text(client: TestClient) -> None:
    tokens = client.post("/tokenize", json={"prompt": "hi ☃"}).json()
    assert tokens["count"] == len(tokens["tokens"])
    text = client.post("/detokenize", json={"tokens": tokens["tokens"]}).json()
    assert text == {"prompt": "hi ☃"}
    refused(client.post("/detokenize", json={"tokens": [10**6]}), 400)
    refused(client.post("/tokenize", json={}), 400)
    refused(client.post("/tokenize", json={"prompt": "x" * 10**6}), 400)


def test_a_key_is_asked_for_where_there_are_keys(tiny_llama: Path, script: Script) -> None:
    with scripted_gateway(tiny_llama, script, api_keys=("one", "two")) as client:
        assert refused(ask(client), 401)["code"] == "invalid_api_key"
        for headers in ({"authorization": "Bearer two"}, {"x-api-key": "one"}):
            assert client.get("/v1/models", headers=headers).status_code == 200
        refused(client.get("/v1/models", headers={"authorization": "Bearer tw"}), 401)
        assert client.get("/health").status_code == 200


def test_a_body_that_is_too_large_is_refused(tiny_llama: Path, script: Script) -> None:
    with scripted_gateway(tiny_llama, script, max_body_bytes=1000) as client:
        assert refused(ask(client, "x" * 2000), 413)["code"] == "request_too_large"
        pieces = iter([b"x" * 600] * 3)
        refused(client.post("/v1/chat/completions", content=pieces), 413)
        assert not script.asked


def test_requests_beyond_the_limit_are_refused(tiny_llama: Path, script: Script) -> None:
    with scripted_gateway(tiny_llama, script, max_concurrent=1) as client:
        for _ in range(3):
            assert ask(client).status_code == 200


def test_health_tells_whether_the_server_answers(client: TestClient, script: Script) -> None:
    assert client.get("/health").status_code == 200
    script.is_ready = False
    assert client.get("/health").status_code == 503


def test_the_page_runs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("style.css", "chat.js", "markdown.js"):
        found = client.get(f"/page/{name}")
        assert found.status_code == 200
        assert "innerHTML" not in found.text


def test_an_unknown_path_and_method_have_the_form_of_every_error(client: TestClient) -> None:
    refused(client.get("/v1/nothing"), 404)
    refused(client.get("/v1/chat/completions"), 405)
