"""The grammar of an answer that must call a tool, in the format that the model writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmasos.guide import Guide

from llmasos_serving.gateway.answer.tool_calls import CallFormat


def forced_call(functions: Sequence[dict[str, Any]], form: CallFormat) -> Guide:
    """Returns the guide of one call of one of these functions.

    functions: names and JSON schemas of their parameters, as in OpenAI's `tools`.
    """
    arguments = "parameters" if form is CallFormat.LLAMA3 else "arguments"
    calls = [_call(function, arguments) for function in functions]
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if form is CallFormat.LLAMA3:
        return Guide.json_schema(call)
    if form is CallFormat.MISTRAL:
        return Guide.json_schema({"type": "array", "items": call, "minItems": 1, "maxItems": 1})
    return Guide.grammar(
        'start: "<tool_call>\\n" call "\\n</tool_call>"\ncall: %json ' + json.dumps(call) + "\n"
    )


def _call(function: dict[str, Any], arguments: str) -> dict[str, Any]:
    parameters = function.get("parameters") or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, arguments: parameters},
        "required": ["name", arguments],
        "additionalProperties": False,
    }
