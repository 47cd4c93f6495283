"""The options of a command that samples, made from the table of sampling parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from llmasos.errors import InvalidRequestError
from llmasos.files.regular_file import read_regular
from llmasos.guide import MAX_CHARACTERS, Guide
from llmasos.recommended_beams import BEAM_FIELDS
from llmasos.sampling import SamplingParams
from llmasos.sampling_parameter import CliOption, SamplingParameter
from llmasos.sampling_table import SAMPLING_TABLE

_PARAMS = "params"
_TYPES = {"INT32": int, "UINT64": int, "FP32": float, "BOOL": bool, "STRING": str}
_GUIDES = {
    "json_schema": "JSON schema that the answer must have: a file, or the schema itself.",
    "regex": "Regular expression that the whole answer must match.",
    "grammar": "File of a grammar in GBNF or Lark that the answer must be in.",
}
_MAPPINGS = {row.name for row in SAMPLING_TABLE if row.is_mapping}
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
    options += [_guide_option(name, said) for name, said in _GUIDES.items()]

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
    kind: Any = _TYPES[row.tensor_type]
    is_repeated = row.is_list or row.is_mapping
    typed: Any = list[kind] | None if is_repeated else kind | None
    said, shows_default = option.help, default is not None
    is_recommended = row.is_recommended or row.name in BEAM_FIELDS
    if default is None and is_recommended and not row.is_list:
        other = str(row.default) if isinstance(row.default, bool) else f"{row.default:g}"
        said = f"{said} [model, else {other}]"
    elif default is None and not is_repeated and row.default is not None:
        default, shows_default = row.default, True
    declared = [option.name] if option.name else []
    return inspect.Parameter(
        row.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[typed, typer.Option(*declared, help=said, show_default=shows_default)],
    )


def _guide_option(name: str, said: str) -> inspect.Parameter:
    typed = Annotated[str | None, typer.Option(help=said, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=typed)


def _guide(options: dict[str, Any]) -> Guide | None:
    """The guide of the options that were given, which are taken out of them."""
    given = {name: text for name in _GUIDES if (text := options.pop(name)) is not None}
    if len(given) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidRequestError(f"{flags} exclude each other")
    if "json_schema" in given:
        schema = given["json_schema"]
        return Guide.json_schema(schema if "{" in schema else _read(schema))
    if "grammar" in given:
        return Guide.grammar(_read(given["grammar"]))
    return Guide.regex(given["regex"]) if "regex" in given else None


def _read(path: str) -> str:
    content = read_regular(Path(path), at_most=4 * MAX_CHARACTERS, error=InvalidRequestError)
    try:
        return content.decode()
    except ValueError as error:
        raise InvalidRequestError(f"{path} is not UTF-8: {error}") from error


def _left_to_model(options: dict[str, Any]) -> SamplingParams:
    """Params of the options that were given; the others are left to the model."""
    guide = _guide(options)
    if guide is not None:
        options["guide"] = guide
    return SamplingParams.open_to_model(
        **{
            name: _pairs(name, value) if name in _MAPPINGS else value
            for name, value in options.items()
            if value not in (None, [])
        }
    )


def _pairs(name: str, texts: list[str]) -> dict[int, float]:
    """Values by token id, from texts such as 50256=-100."""
    try:
        parts = [text.split("=", 1) for text in texts]
        return {int(token): float(value) for token, value in parts}
    except ValueError:
        raise InvalidRequestError(
            f"{name} must be ID=NUMBER, such as 50256=-100, got {', '.join(texts)}"
        ) from None
