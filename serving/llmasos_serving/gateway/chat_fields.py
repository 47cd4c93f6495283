"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.fields import Sampling, Strict

_Function = Literal["function"]


class FunctionDefinition(BaseModel):
    """A function that a model may call. parameters: a JSON schema of its arguments.

    What else it says reaches the chat template.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=256)
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool is a function."""

    model_config = ConfigDict(extra="allow")

    type: _Function
    function: FunctionDefinition


class FunctionName(Strict):
    """One function, by its name."""

    name: str


class NamedTool(Strict):
    """The tool that must be called."""

    type: _Function
    function: FunctionName


ToolChoice = Literal["none", "auto", "required"]


class ChatRequest(Sampling):
    """OpenAI's fields, and those of ChatOptions that it has not."""

    not_supported: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {
        "audio": ("", ()),
        "modalities": ("it answers with text", (["text"],)),
        "prediction": ("", ()),
        "web_search_options": ("", ()),
        "functions": ("send tools", ([],)),
        "function_call": ("send tool_choice", ("none", "auto")),
        "store": ("nothing is kept", (False,)),
        "reasoning_effort": ("set the template's variables by chat_template_kwargs", ()),
        "verbosity": ("", ()),
        "service_tier": ("", ("auto", "default")),
        "parallel_tool_calls": ("", (True,)),
    }

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | NamedTool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    documents: list[dict[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def options(self) -> dict[str, Any]:
        """The fields of ChatOptions that are given."""
        names = (
            "documents", "chat_template", "chat_template_kwargs", "add_generation_prompt",
            "continue_final_message",
        )  # fmt: skip
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if not self.calls_tools:
            return given
        tools = [tool.model_dump(exclude_unset=True) for tool in self.tools or ()]
        return {**given, "tools": tools}

    @property
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens are told with each token; None tells no log probabilities."""
        if self.top_logprobs and not self.logprobs:
            raise ApiError("top_logprobs needs logprobs to be true", param="top_logprobs")
        return self.top_logprobs if self.logprobs else None

    @property
    def calls_tools(self) -> bool:
        """Whether the model may call tools."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def forced_tools(self) -> list[dict[str, Any]]:
        """The functions of which one must be called; none if a call is free. Raises ApiError."""
        if self.tool_choice in (None, "none", "auto"):
            return []
        functions = [tool.function for tool in self.tools or ()]
        if isinstance(self.tool_choice, NamedTool):
            name = self.tool_choice.function.name
            functions = [one for one in functions if one.name == name]
            if not functions:
                raise ApiError(
                    f"tool_choice names {name!r:.100}, which is not among the tools",
                    param="tool_choice",
                )
        if not functions:
            raise ApiError("tool_choice is required, and there are no tools", param="tool_choice")
        if self.guide is not None:
            raise ApiError(
                "an answer that must be a call of a tool has its form from the tool: leave out "
                "tool_choice or the other form",
                param="tool_choice",
            )
        return [one.model_dump(exclude_unset=True) for one in functions]
