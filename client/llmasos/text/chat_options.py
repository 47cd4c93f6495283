"""The inputs of a chat template besides the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from llmasos.errors import InvalidRequestError
from llmasos.files.plain_json import plain_json

# Arguments of Hugging Face's apply_chat_template, which are not its template's.
_ARGUMENTS_ELSEWHERE = frozenset(
    {
        "chat_template",
        "continue_final_message",
        "conversation",
        "max_length",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "truncation",
    }
)
_OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
_FUNCTIONS = frozenset({"raise_exception", "strftime_now", "namespace", "dict", "range"})


class ChatFields(TypedDict, total=False):
    """The fields of ChatOptions as keyword arguments."""

    tools: Sequence[Mapping[str, Any]] | None
    documents: Sequence[Mapping[str, Any]] | None
    chat_template_kwargs: Mapping[str, Any] | None
    chat_template: str | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """Options for rendering a conversation, named as in Hugging Face's apply_chat_template.

    tools: functions that the model may call, as JSON schemas or tool objects of OpenAI's API.
    documents: objects with title and text that the answer may rely on.
    chat_template_kwargs: the template's own variables, such as Qwen3's enable_thinking.
    chat_template: name of one of the model's templates. The default is the template named
    tool_use if tools are given, else the default template.
    add_generation_prompt: whether to open the answer; None opens it unless the last message is
    continued.
    continue_final_message: whether the answer continues the last message.

    Raises InvalidRequestError for a value that is not JSON data or a name that is taken.
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    chat_template: str | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def __post_init__(self) -> None:
        for name in ("tools", "documents"):
            self._replace(name, _objects(getattr(self, name), name))
        self._replace("chat_template_kwargs", _variables(self.chat_template_kwargs))
        for name in ("add_generation_prompt", "continue_final_message"):
            _check_type(getattr(self, name), name, bool, "true or false")
        _check_type(self.chat_template, "chat_template", str, "the name of a template")
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidRequestError(
                "continue_final_message and add_generation_prompt exclude each other"
            )

    @property
    def opens_answer(self) -> bool:
        """True if the opening of an answer follows the messages."""
        if self.add_generation_prompt is None:
            return not self.continue_final_message
        return self.add_generation_prompt

    def given(self) -> dict[str, Any]:
        """The fields that are not None, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def _replace(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def _objects(values: object, name: str) -> list[dict[str, Any]] | None:
    if values is None:
        return None
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise InvalidRequestError(f"{name} must be a list of objects, got {type(values).__name__}")
    for index, value in enumerate(values):
        if callable(value):
            raise InvalidRequestError(
                f"{name}[{index}] must be a JSON object, got {type(value).__name__}",
                hint="give a function's JSON schema",
            )
        if not isinstance(value, Mapping):
            raise InvalidRequestError(
                f"{name}[{index}] must be a JSON object, got {type(value).__name__}"
            )
    plain: list[dict[str, Any]] = plain_json(values, name)
    return plain


def _variables(values: object) -> dict[str, Any] | None:
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise InvalidRequestError(
            f"chat_template_kwargs must be a JSON object, got {type(values).__name__}"
        )
    # The tokenizers library comes along, which a client of a server seldom needs.
    from llmasos.text.tokenizer_files.declared_tokens import NAMED_TOKENS  # noqa: PLC0415

    plain: dict[str, Any] = plain_json(values, "chat_template_kwargs")
    for name in plain:
        if name in _OURS:
            raise InvalidRequestError(
                f"chat_template_kwargs has {name}, which is also an argument of its own"
            )
        if name in NAMED_TOKENS:
            raise InvalidRequestError(
                f"chat_template_kwargs has {name}, which the model's tokenizer sets"
            )
        if name in _ARGUMENTS_ELSEWHERE or name in _FUNCTIONS:
            raise InvalidRequestError(
                f"chat_template_kwargs has {name}, which is not a variable name"
            )
    return plain


def _check_type(value: object, name: str, wanted: type, described: str) -> None:
    if value is not None and not isinstance(value, wanted):
        raise InvalidRequestError(f"{name} must be {described}, got {value!r:.60}")
