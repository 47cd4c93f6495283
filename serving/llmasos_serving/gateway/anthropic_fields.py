"""The body of POST /v1/messages, Anthropic's API, and the chat that it asks for."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import Field

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.chat_fields import ChatRequest
from llmasos_serving.gateway.fields import Strict

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class MessagesRequest(Strict):
    """Anthropic's fields. `chat` says them as OpenAI's."""

    not_supported: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "thinking": ("what a model thinks is told where it does", ({"type": "disabled"},)),
        "container": ("", ()),
        "mcp_servers": ("", ([],)),
        "context_management": ("", ()),
        "service_tier": ("", ("auto", "standard_only")),
    }

    model: str
    max_tokens: int = Field(ge=1)
    messages: list[dict[str, Any]] = Field(min_length=1)
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: list[str] | None = None
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    def chat(self) -> ChatRequest:
        """The same request as a chat completion; raises ApiError."""
        messages = [one for message in self.messages for one in _messages(message)]
        if self.system:
            messages.insert(0, {"role": "system", "content": _text(self.system, "system")})
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "stop": self.stop_sequences,
            "tools": None if self.tools is None else [_tool(tool) for tool in self.tools],
            "tool_choice": self._tool_choice(),
        }
        fields = {"model": self.model, "max_tokens": self.max_tokens, "messages": messages}
        return ChatRequest.model_validate({**fields, **given})

    def _tool_choice(self) -> Any:
        if self.tool_choice is None:
            return None
        kind = self.tool_choice.get("type")
        if kind == "tool":
            name = self.tool_choice.get("name")
            if not isinstance(name, str):
                raise ApiError("tool_choice must have the name of a tool", param="tool_choice.name")
            return {"type": "function", "function": {"name": name}}
        if kind not in _CHOICES:
            raise ApiError(
                f"tool_choice.type must be auto, any, tool or none, got {kind!r:.60}",
                param="tool_choice.type",
            )
        return _CHOICES[kind]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(tool.get("name"), str) or not isinstance(tool.get("input_schema"), dict):
        raise ApiError(
            "a tool must have a name and an input_schema that is an object", param="tools"
        )
    function = {
        "name": tool["name"],
        "description": tool.get("description", ""),
        "parameters": tool["input_schema"],
    }
    return {"type": "function", "function": function}


def _messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message whose blocks call tools or answer them becomes those of OpenAI's API."""
    role, content = message.get("role"), message.get("content")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        raise ApiError(
            f"the content of a message must be text or a list of blocks, got {content!r:.60}",
            param="messages",
        )
    calls = [_call(block) for block in content if _kind(block) == "tool_use"]
    results = [
        {
            "role": "tool",
            "tool_call_id": block.get("tool_use_id"),
            "content": _text(block.get("content") or "", "tool_result"),
        }
        for block in content
        if _kind(block) == "tool_result"
    ]
    rest = [block for block in content if _kind(block) not in ("tool_use", "tool_result")]
    own: dict[str, Any] = {"role": role}
    if rest or not (calls or results):
        own["content"] = _text(rest, "content")
    if calls:
        own["tool_calls"] = calls
    return [*results, own] if len(own) > 1 else results


def _kind(block: Any) -> str:
    kind = str(block.get("type")) if isinstance(block, dict) else ""
    if kind not in ("text", "tool_use", "tool_result"):
        raise ApiError(
            f"a block of type {kind!r:.60} is not supported: text, tool_use and tool_result are",
            param="messages",
        )
    return kind


def _text(blocks: Any, name: str) -> str:
    if isinstance(blocks, str):
        return blocks
    if not isinstance(blocks, list) or any(_kind(block) != "text" for block in blocks):
        raise ApiError(f"{name} must be text", param="messages")
    texts = [block.get("text") for block in blocks]
    if not all(isinstance(text, str) for text in texts):
        raise ApiError("a block of type text must have a text", param="messages")
    return "".join(texts)


def _call(block: dict[str, Any]) -> dict[str, Any]:
    name, arguments = block.get("name"), block.get("input", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ApiError(
            "a block of type tool_use must have a name and an input that is an object",
            param="messages",
        )
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": block.get("id"), "type": "function", "function": function}
