"""Whatever a client sends, the gateway answers as its OpenAPI document says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from llmasos_serving.gateway.answer.tool_calls import CallFormat
from scripted_gateway import scripted_app, scripted_gateway
from scripted_model import Script

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
FUNCTION: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 9}


def said(path: str, *blocks: Any) -> tuple[str, dict[str, Any]]:
    """Messages whose content is these blocks."""
    return path, {"max_tokens": 9, "messages": [{"role": "user", "content": [*blocks]}]}


WRONG = [
    ("/v1/chat/completions", {"messages": [{"role": "user"}]}),
    ("/v1/chat/completions", {**CHAT, "tools": [{"function": 3}]}),
    ("/v1/chat/completions", {**CHAT, "tools": [{"type": "function", "function": {}}]}),
    (
        "/v1/chat/completions",
        {**CHAT, "tools": [FUNCTION], "tool_choice": {"type": "function", "function": "f"}},
    ),
    (
        "/v1/chat/completions",
        {
            **CHAT,
            "tools": [FUNCTION],
            "tool_choice": "required",
            "response_format": {"type": "json_object"},
        },
    ),
    ("/v1/completions", {"prompt": [1.5]}),
    said("/v1/messages", {"type": "text", "text": 3}),
    said("/v1/messages", {"type": "tool_result", "content": 3}),
    said("/v1/messages", {"type": "tool_use", "name": "f", "input": 3}),
    ("/v1/messages", {**MESSAGES, "tools": [{"name": "f", "input_schema": 3}]}),
    ("/v1/messages", {**MESSAGES, "tool_choice": {"type": "tool"}}),
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": {}}]}),
    ("/v1/responses", {"input": []}),
    ("/v1/responses", {"input": [{"type": "function_call", "arguments": 3}]}),
    ("/v1/responses", {"input": "x", "text": {"format": 3}}),
    ("/v1/responses", {"input": "x", "tools": [{"type": "function", "name": 3}]}),
    ("/v1/responses", {"input": "x", "tool_choice": {"type": "function"}}),
]


@pytest.mark.parametrize(("path", "fields"), WRONG)
def test_a_field_of_another_shape_is_refused(
    tiny_llama: Path, path: str, fields: dict[str, Any]
) -> None:
    script = Script()
    with scripted_gateway(tiny_llama, script, form=CallFormat.HERMES) as client:
        response = client.post(path, json={"model": "tiny", **fields})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/completions", {"prompt": 3}, "prompt"),
        ("/v1/responses", {"input": 3}, "input"),
        ("/v1/chat/completions", {**CHAT, "tool_choice": {"type": "function"}}, "tool_choice"),
        ("/v1/chat/completions", {**CHAT, "tools": [{}]}, "tools.0.type"),
        ("/v1/chat/completions", {**CHAT, "stop": 3}, "stop"),
    ],
)
def test_a_refusal_names_the_field_as_the_client_wrote_it(
    tiny_llama: Path, path: str, fields: dict[str, Any], param: str
) -> None:
    with scripted_gateway(tiny_llama, Script()) as client:
        response = client.post(path, json={"model": "tiny", **fields})
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"3", b"{", b"\xff", b"[" * 5_000_000])
def test_a_body_that_is_no_object_is_refused(tiny_llama: Path, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    with scripted_gateway(tiny_llama, Script()) as client:
        response = client.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 400
    assert "body" in response.json()["error"]["message"]


def test_the_document_tells_the_errors_that_there_are(tiny_llama: Path) -> None:
    with scripted_gateway(tiny_llama, Script()) as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method in methods.values():
            assert set(method["responses"]) == {"200", "4XX", "5XX"}, path


@pytest.mark.slow
def test_made_up_requests_are_answered_as_the_document_says(tiny_llama: Path) -> None:
    """What a schema cannot say, such as that prompt and messages exclude each other, is refused."""
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    slow_is_fine = settings(
        max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    script = Script()
    app = scripted_app(tiny_llama, script, form=CallFormat.HERMES)
    with TestClient(app):  # it starts the application
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        operations = [cast("Any", found).ok() for found in schema.get_all_operations()]
        assert len(operations) >= 9
        for operation in operations:

            @slow_is_fine
            @given(case=operation.as_strategy())
            def check(case: Any) -> None:
                if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
                    case.body["model"] = "tiny"
                case.call_and_validate(excluded_checks=[positive_data_acceptance])

            check()
    assert script.asked, "some of what is made up is right"
