"""What the native step has no kernel for, by the name that users know it by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmasos.errors import UnsupportedArchitectureError

from llmasos_builder.graph.records import Operation
from llmasos_builder.native.activations import ACTIVATION_NAMES

MAX_HEAD_SIZE = 256
_OPERATIONS = {
    "concat": "parts that are put side by side",
}


def unsupported(what: str) -> UnsupportedArchitectureError:
    """The refusal of a network because of what it has."""
    return UnsupportedArchitectureError(
        f"target native does not support {what}", hint="build it for openvino"
    )


def check_operations(operations: Iterable[Operation]) -> None:
    """Raise UnsupportedArchitectureError for the first operation that has no kernel."""
    for operation in operations:
        for what in _reasons(operation):
            raise unsupported(what)


def _reasons(operation: Operation) -> Iterator[str]:
    if operation.kind in _OPERATIONS:
        yield _OPERATIONS[operation.kind]
    if operation.kind == "activation" and operation.settings["activation"] not in ACTIVATION_NAMES:
        yield f"the activation {operation.settings['activation']}"
