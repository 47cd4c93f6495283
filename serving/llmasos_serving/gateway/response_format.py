"""The fields that say what an answer must look like, as guides of the engine."""

from __future__ import annotations

import json
from typing import Any

from llmasos.guide import Guide

from llmasos_serving.gateway.api_error import ApiError, unsupported

GUIDED_FIELDS = ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
"""As vLLM has them."""


def guide_of(response_format: dict[str, Any] | None, guided: dict[str, Any]) -> Guide | None:
    """Returns the guide that a request asks for; raises ApiError for a wrong one, or for two.

    response_format: OpenAI's. guided: the fields of GUIDED_FIELDS that are given.
    """
    named = "" if response_format is None else str(response_format.get("type", ""))
    asked = [*guided, *(["response_format"] if named not in ("", "text") else [])]
    if len(asked) > 1:
        raise ApiError(f"{asked[0]} and {asked[1]} exclude each other", param=asked[1])
    if guided:
        ((name, value),) = guided.items()
        return _guided(name, value)
    if response_format is None or named == "text":
        return None
    if named == "json_object":
        return Guide.json()
    if named == "json_schema":
        return Guide.json_schema(_schema(response_format.get("json_schema")))
    if named == "structural_tag":
        return Guide("structural_tag", json.dumps(response_format))
    raise unsupported("response_format", "type must be text, json_object or json_schema")


def _schema(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict) or not isinstance(said.get("schema"), dict):
        raise ApiError(
            "response_format.json_schema must be an object with a schema",
            param="response_format.json_schema",
        )
    schema: dict[str, Any] = said["schema"]
    return schema


def _guided(name: str, value: Any) -> Guide:
    if name == "guided_json":
        return Guide.json_schema(value)
    if name == "guided_choice":
        return Guide.choice(value)
    return Guide.regex(value) if name == "guided_regex" else Guide.grammar(value)
