"""Interprets torch's pickle of a dictionary of tensors without running it.

A pickle is a program for a stack machine, which may call whatever it names. This machine knows
only the few instructions that build a dictionary of tensors, and maps names to plain
descriptions. Anything else is refused, so that nothing in the file runs; torch is not needed.
`pickletools` decodes the instructions and runs none.

A short program can describe values that are huge when written out, such as a tuple of the same
two tuples, and so on. So values are never hashed, compared, printed or copied whole, except for
strings and numbers; and everything that a program can repeat is bounded.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from llmasos_builder.checkpoint.pickled.stored_tensor import Storage, StoredTensor, is_size

# torch's classes of storages, by the types that safetensors gives their numbers.
_STORAGES = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
}


_MAX_INSTRUCTIONS = 1 << 21
_MAX_MARKS = 64


class ForeignError(ValueError):
    """The pickle asks for something that no dictionary of tensors needs."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A function or class of torch's that a pickle names."""

    name: str


def described(content: bytes) -> dict[str, StoredTensor]:
    """Returns the tensors by name.

    Raises ForeignError for any other content, and one of Python's own errors for a damaged pickle.
    """
    machine = _Machine()
    for done, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if done == _MAX_INSTRUCTIONS:
            raise ValueError(f"a description of more than {_MAX_INSTRUCTIONS} instructions")
        machine.step(opcode.name, argument)
    (found,) = machine.stack
    if not isinstance(found, dict):
        raise ForeignError("the pickle is not a dictionary")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, StoredTensor):
            raise ForeignError(f"it holds {name!r}, which is no tensor")
    return found


class _Machine:
    """stack: values; those since a mark are in a list of their own above it."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(_VALUES[name](argument))
        elif name in _TUPLES:
            self._replace(_TUPLES[name], lambda *items: items)
        elif name in _REMEMBER:
            index = len(self._memo) if name == "MEMOIZE" else int(argument)
            self._memo[index] = self.stack[-1]
        elif name in _RECALL:
            self.stack.append(self._memo[int(argument)])
        elif name == "MARK":
            if len(self._below) == _MAX_MARKS:
                raise ValueError(f"more than {_MAX_MARKS} marks at once")
            self._below.append(self.stack)
            self.stack = []
        elif name in _STEPS:
            _STEPS[name](self)
        elif name not in _NOTHING:
            raise ForeignError(f"it has the instruction {name}")

    def tuple(self) -> None:
        items, self.stack = self.stack, self._below.pop()
        self.stack.append(tuple(items))

    def global_from_stack(self) -> None:
        self._replace(2, _named_in)

    def persistent(self) -> None:
        self._replace(1, _storage)

    def reduce(self) -> None:
        self._replace(2, _called)

    def build(self) -> None:
        """Ignores what torch stores beside a dictionary: its versions."""
        self._replace(2, _without_state)

    def set_item(self) -> None:
        self._replace(3, _filled)

    def set_items(self) -> None:
        items, self.stack = self.stack, self._below.pop()
        self._replace(1, partial(_filled, items=items))

    def _replace(self, count: int, make: Callable[..., Any]) -> None:
        """Replaces the topmost values by what `make` returns for them."""
        first = len(self.stack) - count
        if first < 0:
            raise ValueError("an instruction without its values")
        self.stack[first:] = [make(*self.stack[first:])]


def _named(name: str) -> _Name:
    if name not in _STORAGES and name not in _CALLS:
        raise ForeignError(f"it names {name.replace(' ', '.')}")
    return _Name(name)


def _named_in(module: object, name: object) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name that is no text")
    return _named(f"{module} {name}")


def _called(function: object, arguments: object) -> Any:
    if not isinstance(function, _Name) or function.name not in _CALLS:
        called = function.name if isinstance(function, _Name) else type(function).__name__
        raise ForeignError(f"unexpected call in the pickle: {called.replace(' ', '.')}")
    if not isinstance(arguments, tuple):
        raise ValueError("a call without arguments")
    return _CALLS[function.name](*arguments)


def _storage(pid: object) -> Storage:
    match pid:
        case ("storage", _Name(name), str() as key, str(), count):
            if name in _STORAGES and is_size(count):
                return Storage(kind=_STORAGES[name], key=key, count=count)
        case _:
            pass
    raise ForeignError("malformed storage record")


def _tensor(storage: object, offset: int, shape: object, strides: object, *_: object) -> Any:
    if not (
        isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    ):
        raise ForeignError("malformed tensor record")
    return StoredTensor(storage=storage, offset=offset, shape=shape, strides=strides)


def _dictionary(value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ForeignError("unexpected update of an object that is not a dictionary")
    return value


def _filled(value: object, *item: Any, items: Sequence[Any] = ()) -> dict[Any, Any]:
    """item: one key and its value; items: several, one after the other."""
    found = _dictionary(value)
    pairs = [*item, *items]
    for key, content in zip(pairs[::2], pairs[1::2], strict=True):
        if type(key) not in (str, int):
            raise ForeignError(f"it has a key that is a {type(key).__name__}")
        found[key] = content
    return found


def _empty_dictionary() -> dict[Any, Any]:
    return {}


def _without_state(value: object, _state: object) -> dict[Any, Any]:
    return _dictionary(value)


def _first(tensor: object, *_: object) -> object:
    return tensor


_CALLS: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": _empty_dictionary,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _first,
}
_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "GLOBAL": _named,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2"), lambda v: v
    ),
    "LONG1": lambda value: value,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_REMEMBER = frozenset({"BINPUT", "LONG_BINPUT", "MEMOIZE"})
_RECALL = frozenset({"BINGET", "LONG_BINGET"})
_NOTHING = frozenset({"PROTO", "FRAME", "STOP"})
_STEPS: Mapping[str, Callable[[_Machine], None]] = {
    "TUPLE": _Machine.tuple,
    "STACK_GLOBAL": _Machine.global_from_stack,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
}
