"""Decoder specs of configs that a test changes, and what refuses them."""

from __future__ import annotations

from typing import Any

import pytest
from llmasos.errors import CheckpointError
from llmasos_builder.architectures import Decoder, decoder_spec


def spec_of(config: dict[str, Any], **changes: Any) -> Decoder:
    return decoder_spec({**config, **changes})


def refusal(config: dict[str, Any], **changes: Any) -> str:
    """The message, which is one line."""
    with pytest.raises(CheckpointError) as caught:
        spec_of(config, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)
