"""The inputs of a step over whole texts; `llmasos_builder.openvino.packed_inputs` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from llmasos.engine.engine_io import PACKED_AT, SELECTED, TOKEN_TYPE_IDS

from llmasos_runtime.encoding.request import Tokens
from llmasos_runtime.packed_texts import Ints, joined, packed


def pack_texts(texts: Sequence[Tokens]) -> Mapping[str, Ints]:
    """Returns every input by its name; a network takes those that it has."""
    inputs = packed([text.token_ids for text in texts])
    begins = inputs[PACKED_AT][:, 0]
    selected = [
        begin + at for begin, text in zip(begins, texts, strict=True) for at in text.selected
    ]
    return {
        **inputs,
        TOKEN_TYPE_IDS: joined([text.type_ids for text in texts]),
        SELECTED: np.array(selected, np.int64),
    }
