"""The options of a command that samples, made from the table of sampling parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from llmasos.sampling import SamplingParams
from llmasos.sampling_parameter import CliOption, SamplingParameter
from llmasos.sampling_table import SAMPLING_TABLE

_PARAMS = "params"
_TYPES = {"INT32": int, "UINT64": int, "FP32": float, "BOOL": bool, "STRING": str}
Command = Callable[..., None]


def sampling_options(
    *, is_chat: bool = False, **defaults: int | float
) -> Callable[[Command], Command]:
    """Give a command the options of the sampling parameters in place of its `params`.

    The command has a keyword argument `params: SamplingParams`. Options that are not given are
    left to the model. is_chat: only those of chats. defaults: of single parameters.
    """
    options = [
        _parameter(row, row.option, defaults.get(row.name))
        for row in SAMPLING_TABLE
        if row.option is not None and (row.option.is_in_chat or not is_chat)
    ]

    def with_options(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            sampling = {option.name: given.pop(option.name) for option in options}
            command(**given, **{_PARAMS: _left_to_model(sampling)})

        own = inspect.signature(command, eval_str=True)
        parameters = [*_replaced(own, options)]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return with_options


def _replaced(
    signature: inspect.Signature, options: list[inspect.Parameter]
) -> Iterator[inspect.Parameter]:
    for parameter in signature.parameters.values():
        yield from options if parameter.name == _PARAMS else [parameter]


def _parameter(row: SamplingParameter, option: CliOption, default: Any) -> inspect.Parameter:
    """A keyword argument as typer reads it."""
    said, shows_default = option.help, default is not None
    if default is None and row.is_recommended and not row.is_list:
        said = f"{said} [model, else {row.default:g}]"
    elif default is None and not row.is_list and row.default is not None:
        default, shows_default = row.default, True
    kind: Any = _TYPES[row.type]
    typed: Any = list[kind] | None if row.is_list else kind | None
    declared = [option.name] if option.name else []
    return inspect.Parameter(
        row.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[typed, typer.Option(*declared, help=said, show_default=shows_default)],
    )


def _left_to_model(options: dict[str, Any]) -> SamplingParams:
    """Params of the options that were given; the others are left to the model."""
    return SamplingParams.open_to_model(
        **{name: value for name, value in options.items() if value not in (None, [])}
    )
