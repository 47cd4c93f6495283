"""Anthropic's API over the gateway, read by Anthropic's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, APIStatusError
from fastapi.testclient import TestClient
from llmasos.outputs import FinishReason
from llmasos_serving.gateway.answer.tool_calls import CallFormat
from scripted_gateway import scripted_gateway
from scripted_model import Script

CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
TOOLS = [{"name": "f", "description": "does it", "input_schema": {"type": "object"}}]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def client(tiny_llama: Path, script: Script) -> Iterator[TestClient]:
    with scripted_gateway(tiny_llama, script, form=CallFormat.HERMES) as client:
        yield client


@pytest.fixture
def anthropic(client: TestClient) -> Any:
    """Anthropic's client, whose requests the test's client carries."""
    carrier: Any = client
    return Anthropic(
        api_key="none", base_url="http://testserver", http_client=carrier, max_retries=0
    )


def ask(text: str = "hello there", **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": "tiny", "max_tokens": 50, "messages": [message], **fields}


def test_a_whole_answer(anthropic: Any, script: Script) -> None:
    answer = anthropic.messages.create(
        **ask(system="be kind", stop_sequences=["END"]),
        extra_body={"temperature": 0.5, "top_k": 3},
    )
    assert answer.content[0].text == "hello there"
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 4)
    (request,) = script.asked
    assert request.prompt.messages[0] == {"role": "system", "content": "be kind"}  # type: ignore[union-attr]
    assert (request.params.stop, request.params.max_tokens) == (("END",), 50)
    assert (request.params.temperature, request.params.top_k) == (0.5, 3)


def test_a_stream_of_text(anthropic: Any, script: Script) -> None:
    script.ends = FinishReason.LENGTH
    with anthropic.messages.stream(**ask("<think>hm</think>well, yes")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "well, yes"
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[0].thinking == "hm"
    assert final.stop_reason == "max_tokens"
    assert final.usage.output_tokens > 0


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_of_a_tool(anthropic: Any, streams: bool) -> None:
    asked = ask(f"I look. {CALL}", tools=TOOLS)
    if streams:
        with anthropic.messages.stream(**asked) as stream:
            answer = stream.get_final_message()
    else:
        answer = anthropic.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    text, call = answer.content
    assert text.text.strip() == "I look."
    assert (call.type, call.name, call.input) == ("tool_use", "f", {"a": 1})


def test_calls_and_their_results_reach_the_template(client: TestClient, script: Script) -> None:
    blocks = [
        {"type": "text", "text": "looking"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "42"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [result, {"type": "text", "text": "so?"}]},
    ]
    body = {**ask(), "messages": messages, "tools": TOOLS}
    assert client.post("/v1/messages", json=body).status_code == 200
    told = script.asked[0].prompt.messages  # type: ignore[union-attr]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "user"]
    assert told[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert told[2] == {"role": "tool", "tool_call_id": "t1", "content": "42"}


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error"),
        ({"thinking": {"type": "enabled"}}, 400, "invalid_request_error"),
        ({"tool_choice": {"type": "x"}}, 400, "invalid_request_error"),
        ({"model": "other"}, 404, "not_found_error"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            400,
            "invalid_request_error",
        ),
        ({"messages": [{"role": "user", "content": "!wrong"}]}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": "!full"}]}, 429, "rate_limit_error"),
    ],
)
def test_errors_have_anthropics_form(
    client: TestClient, fields: dict[str, Any], status: int, kind: str
) -> None:
    response = client.post("/v1/messages", json={**ask(), **fields})
    assert response.status_code == status
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == kind


def test_an_error_in_a_stream_is_an_event(anthropic: Any) -> None:
    with (
        pytest.raises(APIStatusError),
        anthropic.messages.stream(**ask("!late and more")) as stream,
    ):
        stream.get_final_message()
