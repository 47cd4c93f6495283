"""Reports: what is measured and kept, what is chosen, and what is written."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from llmasos.cache import reports_dir
from llmasos.errors import InvalidRequestError
from llmasos_app.cli.app import app
from llmasos_app.report.choice import Limits, fastest_within, pareto_front
from llmasos_app.report.measurement import Measurement
from llmasos_app.report.page import page
from llmasos_app.report.speed import Speed
from llmasos_app.report.table import markdown
from llmasos_app.report.variant import variants_of
from llmasos_builder.build import BuildOptions, build
from typer.testing import CliRunner

TEXT = "The rain in Spain stays mainly in the plain, and the fox jumps over the lazy dog. " * 9


def row(
    name: str, *, memory: int = 100, perplexity: float = 10.0, rate: float = 50.0
) -> Measurement:
    return Measurement(
        name=name,
        target="native",
        precision="int8",
        command=f"llmasos build {name}",
        disk_bytes=1000,
        perplexity=perplexity,
        kl_divergence=0.5,
        agreement=0.75,
        speed=Speed(
            load_s=0.5, first_token_ms=12.0, tokens_per_s=(rate, 4 * rate), memory_bytes=memory
        ),
    )


F32 = row("f32", memory=400, perplexity=10.0, rate=10.0)
INT8 = row("int8", memory=200, perplexity=10.2, rate=40.0)
INT4 = row("int4", memory=120, perplexity=13.0, rate=60.0)


@pytest.mark.parametrize(
    ("limits", "chosen"),
    [
        (Limits(), INT4),
        (Limits(max_ppl_increase=0.05), INT8),
        (Limits(max_ppl_increase=0.0), F32),
        (Limits(max_memory=200), INT4),
        (Limits(max_memory=200, max_ppl_increase=0.05), INT8),
        (Limits(min_speed=50.0), INT4),
        (Limits(min_speed=50.0, max_ppl_increase=0.05), None),
    ],
)
def test_the_fastest_within_the_limits_is_chosen(
    limits: Limits, chosen: Measurement | None
) -> None:
    assert fastest_within([F32, INT8, INT4], F32, limits) is chosen


def test_what_breaks_a_limit_is_said_with_both_numbers() -> None:
    limits = Limits(max_memory=150, max_ppl_increase=0.01, min_speed=45)
    assert limits.broken_by(INT8, F32) == [
        "takes 200 B of memory, at most 150 B allowed",
        "has 2.0% more perplexity, at most 1.0% allowed",
        "gives 40.0 tokens/s, at least 45 asked",
    ]
    with pytest.raises(InvalidRequestError, match="min-speed must be at least 0, got -1"):
        Limits(min_speed=-1)


def test_the_front_has_only_rows_that_no_other_one_beats() -> None:
    worse = row("worse", memory=300, perplexity=11.0)
    assert pareto_front([F32, worse, INT8, INT4]) == [INT4, INT8, F32]


def test_the_markdown_has_a_line_for_each_row() -> None:
    lines = markdown([F32, replace(INT4, name="a|b")], F32).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert lines[2].startswith("| f32 | native | 1.0 kB | 400 B | 0.50 s | 12.0 ms | 10.0 | 40.0 |")
    assert lines[3].startswith("| a\\|b |")
    assert "+30.0%" in lines[3]


def test_the_page_escapes_names_and_holds_its_picture() -> None:
    made = page([F32], F32, chosen=row("<b>"), conditions="1 < 2", chart=b"PNG")
    assert "&lt;b&gt;" in made
    assert "<b>" not in made
    assert "1 &lt; 2" in made
    assert base64.b64encode(b"PNG").decode() in made
    assert not re.search(r"(?:src|href)=\"(?!data:)", made)  # it needs no other file


def test_a_model_that_is_given_twice_is_refused(tiny_repository: Path) -> None:
    with pytest.raises(InvalidRequestError, match="is given twice"):
        variants_of([str(tiny_repository)] * 2, ["int8"])


def test_a_report_measures_once_and_writes_its_files(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text(TEXT)
    built = build(tiny_llama, tmp_path / "built", BuildOptions(precision="int8"))
    output = tmp_path / "report"
    arguments = ["report", str(tiny_llama), str(built), "--precision", "f32"]
    arguments += ["--text", str(tmp_path / "text.txt"), "--window", "64", "--tokens", "300"]
    limits = ["--max-memory", "100GB", "--output", str(output)]
    result = CliRunner().invoke(app, [*arguments, *limits], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    record = json.loads((output / "report.json").read_text())
    f32, int8 = record["rows"]
    assert [f32["name"], int8["name"]] == [f"{tiny_llama.name} f32", "built int8"]
    assert (f32["kl_divergence"], f32["agreement"]) == (0.0, 1.0)
    assert 0 < int8["kl_divergence"] < 0.1
    assert int8["perplexity"] == pytest.approx(f32["perplexity"], rel=0.05)
    assert int8["disk_bytes"] < f32["disk_bytes"]
    for one in (f32, int8):
        speed = one["speed"]
        assert 0 < speed["first_token_ms"] < 1000 * speed["load_s"] + 10_000
        assert speed["memory_bytes"] > one["disk_bytes"]
        assert all(rate > 0 for rate in speed["tokens_per_s"])
        assert f"{one['perplexity']:.3f}" in result.output
    assert record["chosen"] in result.output
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "built int8" in (output / "report.html").read_text()
    assert "| built int8 |" in (output / "report.md").read_text()

    (kept, _) = sorted(reports_dir().glob("*.json"))
    changed = json.loads(kept.read_text()) | {"perplexity": 12345.678}
    kept.write_text(json.dumps(changed))
    again = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert "12345.678" in again.output  # nothing was measured again
    too_much = CliRunner().invoke(app, [*arguments, "--max-memory", "1kB"])
    assert isinstance(too_much.exception, InvalidRequestError)
    assert "no model keeps to the limits: " in str(too_much.exception)
    assert "built int8 takes " in str(too_much.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int3"], "precision must be one of f32, bf16, int8, int4, got 'int3'"),
        (["--max-ppl-increase", "little"], "max-ppl-increase is little, must be such as 5%"),
        (["--max-memory", "much"], "max-memory must be a number of bytes"),
        (["--window", "1"], "window must be between 2 and"),
    ],
)
def test_bad_options_are_named(
    tiny_repository: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    arguments = ["report", str(tiny_repository), "--text", str(tmp_path / "text.txt"), *options]
    with pytest.raises(InvalidRequestError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
