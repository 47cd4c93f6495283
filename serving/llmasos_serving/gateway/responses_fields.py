"""The body of POST /v1/responses, OpenAI's later API, and the chat that it asks for."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.chat_fields import ChatRequest, ToolChoice
from llmasos_serving.gateway.fields import Strict

_TEXT_PARTS = ("input_text", "output_text", "text")


class FunctionChoice(Strict):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class TextOptions(Strict):
    """The form of the answer's text. format: as response_format of a chat completion."""

    not_supported: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "verbosity": ("", ("medium",)),
    }

    format: dict[str, Any] | None = None


class ResponsesRequest(Strict):
    """The fields of a response. Nothing is kept, so that each request holds its whole conversation.

    `chat` says them as a chat completion.
    """

    not_supported: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "previous_response_id": ("nothing is kept: send the conversation as input", ()),
        "conversation": ("nothing is kept: send it as input", ()),
        "store": ("nothing is kept", (False,)),
        "background": ("", (False,)),
        "include": ("", ([],)),
        "prompt": ("", ()),
        "reasoning": ("set the template's variables by a chat completion", ()),
        "max_tool_calls": ("", ()),
        "service_tier": ("", ("auto", "default")),
        "truncation": ("a conversation that is too long is refused", ("disabled",)),
        "parallel_tool_calls": ("", (True,)),
        "top_logprobs": ("", (0,)),
    }

    model: str
    input: str | list[dict[str, Any]] = Field(min_length=1)
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | FunctionChoice | None = None
    text: TextOptions | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def chat(self) -> ChatRequest:
        """The same request as a chat completion; raises ApiError."""
        said = (
            [{"role": "user", "content": self.input}] if isinstance(self.input, str) else self.input
        )
        messages = [_message(item) for item in said]
        if self.instructions:
            messages.insert(0, {"role": "system", "content": self.instructions})
        fields = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "tools": None if self.tools is None else [_tool(tool) for tool in self.tools],
            "tool_choice": _tool_choice(self.tool_choice),
            "response_format": _format(self.text),
        }
        return ChatRequest.model_validate(fields)


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """An item of the input as a message of a chat."""
    kind = item.get("type", "message")
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        if not all(isinstance(part, str) for part in function.values()):
            raise ApiError(
                "an item of type function_call must have a name and arguments that are text",
                param="input",
            )
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "tool_calls": [call]}
    if kind == "function_call_output":
        content = _text(item.get("output"))
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
    if kind != "message":
        raise ApiError(
            f"an item of type {kind!r:.60} is not supported: message, function_call and "
            "function_call_output are",
            param="input",
        )
    role = "system" if item.get("role") == "developer" else item.get("role")
    return {"role": role, "content": _text(item.get("content"))}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or any(
        not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS for part in content
    ):
        raise ApiError("the content of an item must be text", param="input")
    texts = [part.get("text") for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise ApiError("a part of an item must have a text", param="input")
    return "".join(texts)


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    parameters = tool.get("parameters")
    if (
        tool.get("type") != "function"
        or not isinstance(tool.get("name"), str)
        or not isinstance(parameters, dict | None)
    ):
        raise ApiError(
            "a tool must be a function with a name, and parameters that are an object, got type "
            f"{tool.get('type')!r:.60}",
            param="tools",
        )
    names = ("name", "description", "parameters")
    function = {name: tool[name] for name in names if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | FunctionChoice | None) -> Any:
    if isinstance(choice, FunctionChoice):
        return {"type": "function", "function": {"name": choice.name}}
    return choice


def _format(text: TextOptions | None) -> dict[str, Any] | None:
    said = None if text is None else text.format
    if said is None or said.get("type") != "json_schema":
        return said
    return {"type": "json_schema", "json_schema": {"schema": said.get("schema")}}
