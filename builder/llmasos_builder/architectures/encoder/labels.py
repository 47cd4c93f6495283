"""The labels of a classifier, from config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.errors import CheckpointError

_MAX_LABELS = 1 << 20


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the name of each label in order; transformers' are LABEL_0 and LABEL_1.

    Raises CheckpointError for labels that are not numbered from 0.
    """
    found = config.get("id2label")
    if found is None:
        count = config.get("num_labels", 2)
        if type(count) is not int or not 1 <= count <= _MAX_LABELS:
            raise CheckpointError(
                f"config.json: num_labels must be an integer from 1 to {_MAX_LABELS}, got {count!r}"
            )
        return tuple(f"LABEL_{i}" for i in range(count))
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"config.json: id2label must be an object, got {found!r}")
    numbers = {str(i) for i in range(len(found))}
    if set(map(str, found)) != numbers:
        raise CheckpointError(
            f"config.json: id2label must number {len(found)} labels from 0, got {sorted(found)!r}"
        )
    by_number = {str(number): str(label) for number, label in found.items()}
    return tuple(by_number[str(i)] for i in range(len(found)))
