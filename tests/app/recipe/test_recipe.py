"""Recipes: what is refused before any work, and which stages run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from llmasos.errors import InvalidRequestError, LLMasOSError, PlanError
from llmasos_app.cli.app import app
from llmasos_app.recipe.recipe import Recipe, read_recipe
from llmasos_app.recipe.run import run_recipe
from llmasos_builder.checkpoint import open_checkpoint
from tiny import write_tiny_llama
from typer.main import get_group
from typer.testing import CliRunner

TEXT = "The rain in Spain stays mainly in the plain, and the fox jumps over the lazy dog. " * 20
STAGES = """
checkpoint: tiny
stages:
  - prune: {mlp-width: 50%, dataset: text.txt, samples: 2, seq-length: 64}
  - quantize: {format: W4A16, dataset: text.txt, samples: 2, seq-length: 64}
  - build: {precision: int4}
  - evaluate: {text: text.txt, window: 64, tokens: 200, against: 3-build}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tiny_llama(tmp_path / "tiny", hidden=128, inner=256)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def recipe(place: Path, content: str) -> Recipe:
    (place / "recipe.yaml").write_text(content)
    return read_recipe(place / "recipe.yaml")


def run(place: Path, content: str) -> list[str]:
    said: list[str] = []
    run_recipe(recipe(place, content), place / "out", get_group(app).commands, said.append)
    return said


def kept(said: list[str]) -> list[bool]:
    """Whether each stage was kept."""
    return [": kept, " in line for line in said if line.startswith("stages[")]


def test_stages_run_once_and_again_when_what_they_depend_on_changes(place: Path) -> None:
    content = STAGES.replace("3-build", str(place / "out" / "3-build"))
    first = run(place, content)
    assert kept(first) == [False] * 4
    assert first[-1].startswith("perplexity ")
    assert first[-1].endswith("KL 0.0000 to 2-quantize")
    pruned = open_checkpoint(place / "out" / "1-prune").config
    assert pruned["intermediate_size"] == 128
    quantized = json.loads((place / "out" / "2-quantize" / "config.json").read_text())
    assert quantized["intermediate_size"] == 128
    assert quantized["quantization_config"]["format"] == "pack-quantized"
    measured = json.loads((place / "out" / "4-evaluate" / "output.json").read_text())
    assert f"{measured['perplexity']:.3f}" in first[-1]
    assert kept(run(place, content)) == [True] * 4
    assert kept(run(place, content.replace("tokens: 200", "tokens: 190"))) == [True] * 3 + [False]
    assert kept(run(place, content.replace("precision: int4", "precision: int8"))) == [
        *(True, True, False, False)
    ]
    (place / "text.txt").write_text(TEXT[1:])
    assert kept(run(place, content)) == [False] * 4
    assert kept(run(place, content)) == [True] * 4
    wider = content.replace("mlp-width: 50%", "mlp-width: 75%")  # those behind it depend on it
    assert kept(run(place, wider)) == [False] * 4


def test_a_stage_that_failed_is_run_again_and_those_before_it_are_kept(place: Path) -> None:
    short = STAGES.split("  - build", maxsplit=1)[0].replace("samples: 2", "samples: 9999", 2)
    short = short.replace("samples: 9999", "samples: 2", 1)
    with pytest.raises(LLMasOSError, match="9999"):
        run(place, short)
    assert kept(run(place, short.replace("9999", "3"))) == [True, False]


def test_a_directory_that_no_recipe_wrote_is_not_replaced(place: Path) -> None:
    (place / "out" / "1-prune").mkdir(parents=True)
    (place / "out" / "1-prune" / "mine").touch()
    with pytest.raises(PlanError, match="1-prune is in the way"):
        run(place, STAGES)
    assert (place / "out" / "1-prune" / "mine").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not YAML"),
        ("checkpoint: tiny", "has the keys checkpoint and stages, got checkpoint"),
        ("checkpoint: 5\nstages: [build]", "checkpoint must be a name or a path, got 5"),
        ("checkpoint: tiny\nstages: []", "stages must be a list of at least one"),
        ("checkpoint: tiny\nstages: [serve]", r"stages\[0\] must be one of prune, .*, got 'serve'"),
        (
            "checkpoint: tiny\nstages: [build: {output: a}]",
            r"stages\[0\]\.build\.output is set by the recipe itself",
        ),
        (
            "checkpoint: tiny\nstages: [build, quantize]",
            r"stages\[1\]\.quantize needs a checkpoint, and comes after build",
        ),
        (
            "checkpoint: tiny\nstages: [build: {precision: {a: 1}}]",
            r"stages\[0\]\.build\.precision must be a text, a number or true or false",
        ),
        (
            "checkpoint: tiny\nstages: [build: {prec: int8}]",
            r"stages\[0\]\.build: No such option: --prec",
        ),
        (
            "checkpoint: tiny\nstages: [build: {precision: int3}]",
            r"stages\[0\]\.build: .*must be one of f32",
        ),
        (
            "checkpoint: tiny\nstages: [quantize: {samples: many}]",
            "quantize: .*'--samples'.*integer",
        ),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(
    place: Path, content: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        run(place, content)
    assert not (place / "out").exists()


def test_the_command_says_each_stage_and_its_errors_in_one_line(place: Path) -> None:
    (place / "recipe.yaml").write_text("checkpoint: tiny\nstages: [build: {precision: f32}]")
    arguments = ["compress", str(place / "recipe.yaml"), "--output", str(place / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "stages[0].build ..." in result.output
    assert f"recipe.yaml is done: {place / 'out' / '1-build'}" in result.output
    with pytest.raises(InvalidRequestError, match="none does not exist"):
        CliRunner().invoke(app, ["compress", "none", "--output", "out"], catch_exceptions=False)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[3].glob("examples/*.yaml")))
def test_the_options_of_every_example_are_those_of_its_commands(path: Path, tmp_path: Path) -> None:
    """Whole runs need SmolLM2; here the same stages run on a tiny checkpoint, with less text."""
    write_tiny_llama(tmp_path / "tiny", hidden=128, inner=256)
    (tmp_path / "text.txt").write_text(TEXT)
    content = path.read_text().replace("smollm2-135m-instruct", "tiny", 1)
    content = content.replace(", against: smollm2-135m-instruct", "")
    for usual, less in (("samples: 64", "samples: 2"), ("seq-length: 512", "seq-length: 64")):
        content = content.replace(usual, less)
    for usual, less in (("samples: 16", "samples: 2"), ("samples: 512", "samples: 16")):
        content = content.replace(usual, less)
    content = content.replace("seq-length: 256", "seq-length: 64").replace("steps: 200", "steps: 2")
    said = run(tmp_path, content)
    assert said[-1].startswith("perplexity ")
