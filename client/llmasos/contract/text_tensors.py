"""The inputs that hold a prompt as text, and the names that requests with text use.

`ensemble` has them, and so has `engine`, which reads text itself: a client that speaks to `engine`
directly saves two hops. Both models take a text request in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmasos.contract.tensor import DataType, Support, Tensor
from llmasos.sampling_table import SAMPLING_TABLE

CHAT_OBJECTS = ("tools", "documents", "chat_template_kwargs")
"""Inputs beside messages that hold JSON in a string, as messages does."""
CHAT_FLAGS = ("add_generation_prompt", "continue_final_message")
STOP_WORDS = "stop_words"


def _text(name: str) -> Tensor:
    return Tensor(name=name, type=DataType.STRING, optional=True, support=Support.EXTRA)


def _flag(name: str) -> Tensor:
    return Tensor(name=name, type=DataType.BOOL, optional=True, support=Support.EXTRA)


CHAT_INPUTS = (
    _text("messages"),
    *map(_text, CHAT_OBJECTS),
    _text("chat_template"),
    *map(_flag, CHAT_FLAGS),
    _flag("add_special_tokens"),
)
"""Those that the classic contract does not have."""

TASK_INPUTS = tuple(map(_text, ("task", "source_language", "target_language")))
"""What is asked of a text, where a network has an encoder; see `text_task`."""

TEXT_INPUTS = (_text("text_input"), _text("decoder_text_input"), *TASK_INPUTS, *CHAT_INPUTS)

ENGINE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **{
            row.ensemble_name: row.engine_name
            for row in SAMPLING_TABLE
            if row.ensemble_name is not None
            and row.engine_name is not None
            and row.ensemble_name != row.engine_name
        },
        "stream": "streaming",
    }
)
"""Inputs that `ensemble` and `engine` call by different names: the ensemble's -> the engine's."""
