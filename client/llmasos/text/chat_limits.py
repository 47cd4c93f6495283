"""A Jinja sandbox whose templates always end and stay small.

Jinja's sandbox keeps a template from reaching Python's insides. It does not keep one from
looping for ever or from doubling a string until memory is gone. So every step of a loop and
every call of a macro takes one from a budget of steps; `+`, `~`, `*`, `%`, `**`, join, replace
and tojson measure their result before they make it and take it from a budget of characters; and
integers given to calls and filters are limited. One expression that prints nested lists with
shared parts stays unbounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import Environment, Template, nodes, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from llmasos.text.chat_budget import Budget, size_of

MAX_NUMBER = 1_000_000
_MAX_BITS = 64
_STEP = "_llmasos_step"
_STEPS = "_llmasos_steps"
_CONCAT = "_llmasos_concat"
_ARGUMENT = "_llmasos_argument"
_LONG_NUMBER = re.compile(r"\d{5,}")


_budget: ContextVar[Budget] = ContextVar("_budget")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Compiles templates that can only render inside `budget()`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        # Folding constants would run filters when there is no budget yet.
        super().__init__(optimized=False, **options)
        self.filters |= {
            _STEP: _step,
            _STEPS: _steps,
            _CONCAT: _concat,
            _ARGUMENT: _argument,
            "format": _format,
            "join": _join,
            "replace": _replace,
            "tojson": to_json,
        }
        del self.globals["lipsum"]

    def from_source(self, source: str, variables: dict[str, Any]) -> Template:
        """Compiles a template that sees these variables besides Jinja's own."""
        plain: dict[str, Any] = {
            "namespace": _PlainNamespace,
            "dict": _make_dict,
        }
        return self.from_string(source, globals=plain | variables)

    @contextmanager
    def budget(self) -> Generator[Budget]:
        """Gives a full budget to whatever renders inside, in this thread."""
        budget = Budget()
        token = _budget.set(budget)
        try:
            yield budget
        finally:
            _budget.reset(token)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        counted = _Counted().visit(template)
        assert isinstance(counted, nodes.Template)
        return counted

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator in {"*", "**"}:
            _check_product(operator, left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            for value in right if isinstance(right, tuple) else (right,):
                _argument(value)
        result = super().call_binop(context, operator, left, right)
        return _measured(result)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in jinja2
        for value in (*args, *kwargs.values()):
            _argument(value)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "join" and args:
            args = (_measured_parts(args[0], len(owner)), *args[1:])
        elif isinstance(owner, str) and name == "replace" and len(args) >= 2:
            _check_replace(owner, args[0], args[1])
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__)
        return wrapped


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Encodes JSON as Hugging Face does: unlike Jinja's filter, it escapes nothing for HTML."""
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return "".join(map(_measured, encoder.iterencode(value)))


class _Counted(NodeTransformer):
    """Adds the counting to a template's tree."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - named after the node
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filtered(node.iter, _STEPS)
        return self.generic_visit(node)

    def visit_Macro(self, node: nodes.Macro | nodes.CallBlock) -> nodes.Node:  # noqa: N802
        step = _filtered(nodes.Const("", lineno=node.lineno), _STEP)
        node.body.insert(0, nodes.Output([step], lineno=node.lineno))
        return self.generic_visit(node)

    visit_CallBlock = visit_Macro  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), _CONCAT)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.args = [_filtered(argument, _ARGUMENT) for argument in node.args]
        for keyword in node.kwargs:
            keyword.value = _filtered(keyword.value, _ARGUMENT)
        return node


class _PlainNamespace(Namespace):
    """`namespace()` without names that begin with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"the name {name!r} begins with an underscore")
        super().__setitem__(name, value)


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """Replaces the class dict, whose attributes a template must not reach."""
    return dict(*args, **kwargs)


def _step(value: Any) -> Any:
    _budget.get().take_step()
    return value


def _steps(values: Iterable[Any]) -> Iterator[Any]:
    budget = _budget.get()
    for value in values:
        budget.take_step()
        yield value


def _concat(parts: list[Any]) -> str:
    return "".join(_measured(str(part)) for part in parts)


def _measured(value: Any) -> Any:
    _budget.get().take_characters(size_of(value))
    return value


def _argument(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise SecurityError(f"it uses the number {value:.0e}, at most {MAX_NUMBER}")
    return value


def _check_product(operator: str, left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int):
            _budget.get().take_characters(size_of(value) * max(times, 0))
    if isinstance(left, int) and isinstance(right, int):
        bits = abs(left).bit_length() * abs(right) if operator == "**" else left.bit_length()
        if bits > _MAX_BITS:
            raise SecurityError(f"it computes a number of {bits} bits, at most {_MAX_BITS}")


def _check_format(pattern: str) -> None:
    if _LONG_NUMBER.search(pattern):
        raise SecurityError("it formats with a width of five digits or more")


def _format(pattern: Any, *args: Any, **kwargs: Any) -> str:
    _check_format(str(pattern))
    return str(_measured(str(pattern) % (kwargs or args)))


@pass_environment
def _join(
    environment: Environment,
    values: Iterable[Any],
    separator: Any = "",
    attribute: str | int | None = None,
) -> str:
    if attribute is not None:
        values = map(make_attrgetter(environment, attribute), values)
    return str(separator).join(_measured_parts(map(str, values), len(str(separator))))


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    _check_replace(str(text), str(old), str(new))
    return str(text).replace(str(old), str(new), -1 if count is None else count)


def _check_replace(text: str, old: Any, new: Any) -> None:
    if isinstance(old, str) and isinstance(new, str):
        _budget.get().take_characters(text.count(old) * len(new))


def _measured_parts(parts: Iterable[Any], extra: int) -> Iterator[Any]:
    for part in parts:
        _budget.get().take_characters(extra + (len(part) if isinstance(part, str) else 0))
        yield part
