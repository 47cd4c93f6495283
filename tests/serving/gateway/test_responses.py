"""OpenAI's responses over the gateway, read by OpenAI's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from llmasos.guide import Guide
from llmasos.outputs import FinishReason
from llmasos_serving.gateway.answer.tool_calls import CallFormat
from openai import BadRequestError, OpenAI
from scripted_gateway import scripted_gateway
from scripted_model import Script

CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def client(tiny_llama: Path, script: Script) -> Iterator[TestClient]:
    with scripted_gateway(tiny_llama, script, form=CallFormat.HERMES) as client:
        yield client


@pytest.fixture
def openai(client: TestClient) -> Any:
    carrier: Any = client
    return OpenAI(
        api_key="none", base_url="http://testserver/v1", http_client=carrier, max_retries=0
    )


def test_a_whole_response(openai: Any, script: Script) -> None:
    answer = openai.responses.create(
        model="tiny", input="hello there", instructions="be kind", max_output_tokens=9
    )
    assert answer.output_text == "hello there"
    assert (answer.status, answer.usage.output_tokens) == ("completed", 4)
    (request,) = script.asked
    assert [m["role"] for m in request.prompt.messages] == ["system", "user"]  # type: ignore[union-attr]
    assert request.params.max_tokens == 9


def test_a_stream_is_the_whole_response_in_events(openai: Any) -> None:
    asked = {"model": "tiny", "input": "<think>hm</think>well, yes", "stream": True}
    events = list(openai.responses.create(**asked))
    assert [one.sequence_number for one in events] == list(range(len(events)))
    assert [events[0].type, events[1].type] == ["response.created", "response.in_progress"]
    text = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert text == "well, yes"
    final = events[-1]
    assert final.type == "response.completed"
    assert [item.type for item in final.response.output] == ["reasoning", "message"]
    assert final.response.output_text == text
    opened = [one.output_index for one in events if one.type == "response.output_item.added"]
    closed = [one.output_index for one in events if one.type == "response.output_item.done"]
    assert opened == closed == [0, 1]


def test_a_response_that_is_cut_off_says_so(openai: Any, script: Script) -> None:
    script.ends = FinishReason.LENGTH
    answer = openai.responses.create(model="tiny", input="hello")
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_calls_go_out_and_come_back(openai: Any, script: Script) -> None:
    answer = openai.responses.create(model="tiny", input=CALL, tools=TOOLS)
    (call,) = answer.output
    assert (call.type, call.name, call.arguments) == ("function_call", "f", '{"a": 1}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
    said = [{"role": "user", "content": [{"type": "input_text", "text": "q"}]}]
    call_item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    asked: Any = [*said, call_item, result, {"role": "user", "content": "so?"}]
    assert openai.responses.create(model="tiny", input=asked).output_text == "so?"
    told = script.asked[-1].prompt.messages  # type: ignore[union-attr]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "user"]


def test_a_format_becomes_a_guide(openai: Any, script: Script) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "t", "schema": {"type": "null"}}}
    openai.responses.create(model="tiny", input="null", text=form)
    assert script.asked[0].params.guide == Guide.json_schema({"type": "null"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    openai: Any, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        openai.responses.create(**{"model": "tiny", "input": "a", **fields})
    assert caught.value.param == param
