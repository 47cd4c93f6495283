"""The options of `llmasos generate` and `llmasos chat` are those of the table of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from llmasos.guide import Guide
from llmasos.recommended_beams import BEAM_FIELDS
from llmasos.sampling import SamplingParams
from llmasos.sampling_table import PARAMETERS, SAMPLING_TABLE
from llmasos_app.cli.app import app
from llmasos_app.cli.sampling_options import sampling_options
from typer.testing import CliRunner

WITH_OPTION = tuple(row for row in SAMPLING_TABLE if row.option is not None)


def flags_of(command: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    return {flag for option in group.commands[command].params for flag in option.opts}


def asked(*arguments: str, is_chat: bool = False, **defaults: int) -> SamplingParams:
    """The params that a command gets from a command line."""
    got: list[SamplingParams] = []
    command = typer.Typer()

    @command.command()
    @sampling_options(is_chat=is_chat, **defaults)
    def ask(*, params: SamplingParams) -> None:
        got.append(params)

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got[0]


@pytest.mark.parametrize("row", WITH_OPTION, ids=lambda row: row.name)
def test_a_parameter_has_its_option_in_the_commands_that_sample(row: Any) -> None:
    flag = row.option.name or f"--{row.name.replace('_', '-')}"
    assert flag in flags_of("generate")
    assert (flag in flags_of("chat")) == row.option.is_in_chat


@pytest.mark.parametrize("row", WITH_OPTION, ids=lambda row: row.name)
def test_what_an_option_is_given_reaches_the_params(row: Any) -> None:
    flag = row.option.name or f"--{row.name.replace('_', '-')}"
    values = [] if row.type == "BOOL" else ["7=1" if row.is_mapping else "1"]
    params = asked(flag, *values, "--max-tokens", "1")
    value = dict(getattr(params, row.name))[7] if row.is_mapping else getattr(params, row.name)
    assert (value[0] if row.is_list else value) == ("1" if row.type == "STRING" else 1)
    assert row.name not in params.open_fields


def test_what_is_left_out_is_left_to_the_model() -> None:
    recommended = {row.name for row in SAMPLING_TABLE if row.is_recommended}.union(BEAM_FIELDS)
    params = asked()
    assert params == SamplingParams()
    assert recommended <= params.open_fields


def test_a_list_may_be_given_in_several_options() -> None:
    params = asked("--stop", "a", "--stop", "b", "--stop-token-id", "7", "--stop-token-id", "9")
    assert (params.stop, params.stop_token_ids) == (("a", "b"), (7, 9))


def test_a_command_may_have_a_default_of_its_own() -> None:
    assert asked(max_tokens=512).max_tokens == 512
    assert asked("--max-tokens", "3", max_tokens=512).max_tokens == 3


def test_chats_have_fewer_options() -> None:
    assert asked("--temperature", "0.5", is_chat=True).temperature == 0.5
    assert CliRunner().invoke(app, ["chat", "--priority", "1"]).exit_code == 2
    assert PARAMETERS["priority"].option is not None


def test_a_guide_may_be_a_schema_a_pattern_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "null"}')
    (tmp_path / "a.gbnf").write_text('root ::= "a"')
    assert asked("--json-schema", '{"type": "null"}').guide == Guide.json_schema({"type": "null"})
    assert (
        asked("--json-schema", str(tmp_path / "schema.json")).guide
        == asked("--json-schema", '{"type": "null"}').guide
    )
    assert asked("--regex", "a+").guide == Guide.regex("a+")
    assert asked("--grammar", str(tmp_path / "a.gbnf")).guide == Guide.grammar('root ::= "a"')
