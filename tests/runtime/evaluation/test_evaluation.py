"""Evaluation of compiled engines, against a plain forward over each window in numpy."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError, PlanError
from llmasos.text.tokenizer import Tokenizer
from llmasos_app.cli.app import app
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.graph.reference import ReferenceGraph
from llmasos_runtime.evaluation.evaluate import Evaluation, EvaluationOptions, evaluate
from llmasos_runtime.evaluation.forward import PackedForward, Part
from llmasos_runtime.evaluation.window import make_windows
from numpy.typing import NDArray
from tiny import write_tiny_llama
from typer.testing import CliRunner

TEXT = "".join(f"Line {i}: the {i * i} grüne Äpfel fall.\n" for i in range(12))
Plans = Callable[[BuildOptions], Path]


@pytest.fixture(scope="module")
def plans(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """Plans of the tiny Llama, each built the first time it is asked for."""
    built: dict[BuildOptions, Path] = {}

    def plan(options: BuildOptions) -> Path:
        if options not in built:
            built[options] = tmp_path_factory.mktemp("plan") / "plan"
            build_plan(tiny_llama, built[options], options)
        return built[options]

    return plan


F32 = BuildOptions(precision="f32")


def run(plan: Path, text: str = TEXT, *, against: Path | None = None, **options: Any) -> Evaluation:
    chosen = EvaluationOptions(num_threads=1, **options)
    return evaluate(plan, text, chosen, against=against, progress=lambda stage, done, total: None)


def reference_nats(checkpoint: Path, *, window: int, stride: int) -> float:
    """The negative log-likelihood by a forward of its own for each window, without a cache."""
    opened = open_checkpoint(checkpoint)
    spec = decoder_spec(opened.config)
    token_ids = Tokenizer.load(checkpoint).encode(TEXT)
    nats = 0.0
    for one in make_windows(token_ids, length=window, stride=stride):
        graph = ReferenceGraph(np.array([one.token_ids]))
        define_decoder(spec, graph, lambda name, shape: opened.weights.load(name), precision="f32")
        for target in range(one.first_target, len(one.token_ids)):
            row = graph.logits[0, target - 1]
            total = row.max() + math.log(np.exp(row - row.max()).sum())
            nats -= row[one.token_ids[target]] - total
    return nats


@pytest.mark.parametrize("token_by_token", [False, True])
@pytest.mark.parametrize(("window", "stride"), [(64, 64), (50, 20)])
def test_f32_has_the_likelihood_of_a_plain_forward(
    plans: Plans, tiny_llama: Path, window: int, stride: int, token_by_token: bool
) -> None:
    found = run(plans(F32), window=window, stride=stride, token_by_token=token_by_token)
    expected = reference_nats(tiny_llama, window=window, stride=stride)
    assert found.nats == pytest.approx(expected, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(expected / found.num_predicted), rel=1e-4)


def test_token_by_token_gives_one_token_of_each_window_to_a_forward(
    plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards: list[list[Part]] = []
    plain = PackedForward.run

    def spy(self: PackedForward, parts: list[Part]) -> list[NDArray[np.float32]]:
        forwards.append(parts)
        return plain(self, parts)

    monkeypatch.setattr(PackedForward, "run", spy)
    found = run(plans(F32), window=64, token_by_token=True)
    assert {len(part.token_ids) for parts in forwards for part in parts} == {1}
    assert len(forwards) == 63  # all windows side by side
    forwards.clear()
    run(plans(F32), window=64)
    assert len(forwards) == 1
    assert sum(len(part.token_ids) for part in forwards[0]) == found.num_predicted


def test_chunks_and_slots_change_nothing_in_f32(plans: Plans) -> None:
    whole = run(plans(F32), window=64)
    few = plans(replace(F32, max_num_tokens=7, max_batch_size=3))
    assert run(few, window=64).nats == pytest.approx(whole.nats, rel=1e-6)
    assert run(few, window=64, token_by_token=True).nats == pytest.approx(whole.nats, rel=1e-6)


def test_tokens_and_bytes_are_counted_exactly(plans: Plans) -> None:
    num_bytes = len(TEXT.encode())  # the tiny tokenizer has a token for each
    found = run(plans(F32), window=64)
    num_windows = -(-num_bytes // 64)
    assert found.num_tokens == num_bytes
    assert found.num_predicted == num_bytes - num_windows
    overlapping = run(plans(F32), window=64, stride=32)
    assert overlapping.num_predicted == num_bytes - 1
    # Only the first character has no context; later ones of two bytes count as a whole.
    assert overlapping.num_bytes == num_bytes - 1
    assert overlapping.bits_per_byte == pytest.approx(math.log2(overlapping.perplexity))
    assert run(plans(F32), window=64, num_tokens=100).num_tokens == 100


def test_a_quantized_cache_shows_token_by_token(plans: Plans) -> None:
    u8 = plans(replace(F32, kv_cache_precision="u8"))
    exact = run(plans(F32), window=64, token_by_token=True)
    found = run(u8, window=64, token_by_token=True, against=plans(F32))
    assert found.nats != pytest.approx(exact.nats, rel=1e-6)
    assert found.nats == pytest.approx(exact.nats, rel=0.05)
    assert found.distance is not None
    assert 0 < found.distance.kl_divergence < 0.1
    assert 0.8 < found.distance.agreement <= 1


def test_a_plan_is_at_no_distance_from_itself_and_int8_is_at_some(plans: Plans) -> None:
    same = run(plans(F32), window=64, against=plans(F32)).distance
    assert same is not None
    assert (same.agreement, same.kl_divergence) == (1.0, 0.0)
    int8 = run(plans(BuildOptions(precision="int8")), window=64, against=plans(F32)).distance
    assert int8 is not None
    assert int8.kl_divergence > 1e-5
    assert int8.precision == "f32"  # what it was compared with


def test_plans_of_other_weights_are_compared_if_their_tokens_are_the_same(
    plans: Plans, tmp_path: Path
) -> None:
    write_tiny_llama(tmp_path / "other", seed=1)
    build_plan(tmp_path / "other", tmp_path / "plan", F32)
    distance = run(plans(F32), window=64, against=tmp_path / "plan").distance
    assert distance is not None
    assert distance.name == "other"
    assert distance.kl_divergence > 0.01


def test_plans_of_other_tokens_are_not_compared(plans: Plans, tmp_path: Path) -> None:
    plan = EnginePlan.read(plans(F32))
    files = {**plan.files, "tokenizer.json": plan.files["config.json"]}
    plan.model_copy(update={"name": "other", "files": files}).write(tmp_path)
    with pytest.raises(PlanError, match="tiny-llama and other have different tokenizers"):
        run(plans(F32), against=tmp_path)


def test_a_tensorrt_plan_is_refused_by_name(plans: Plans, tmp_path: Path) -> None:
    plan = EnginePlan.read(plans(F32)).model_dump()
    record = {
        "library": "tensorrt_rtx",
        "version": "1",
        "gpus": ("sm89",),
        "prefill_length": 8,
        "num_candidates": 4,
        "full_logits": True,
    }
    files = {"tokenizer.json": plan["files"]["tokenizer.json"]}
    (tmp_path / "tokenizer.json").write_bytes((plans(F32) / "tokenizer.json").read_bytes())
    EnginePlan.model_validate(
        {**plan, "target": "tensorrt", "tensorrt": record, "files": files}
    ).write(tmp_path)
    with pytest.raises(PlanError, match=r"tiny-llama is compiled for tensorrt, .*; build"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 1}, "window must be between 2 and 512, the plan's max_seq_len, got 1"),
        ({"window": 513}, "window must be between 2 and 512, the plan's max_seq_len, got 513"),
        ({"window": 9, "stride": 10}, "stride must be between 1 and the window 9, got 10"),
        ({"stride": 0}, "stride must be between 1 and the window 512, got 0"),
        ({"num_tokens": 1}, "tokens must be at least 2, got 1"),
    ],
)
def test_what_is_out_of_its_limits_is_refused(
    plans: Plans, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        run(plans(F32), **options)
    assert str(caught.value) == message


def test_a_text_of_one_token_is_refused(plans: Plans) -> None:
    with pytest.raises(InvalidRequestError, match="the text has 1 tokens, at least 2 are needed"):
        run(plans(F32), text="a")


def test_the_command_prints_a_table_and_json(plans: Plans, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    command = ["evaluate", str(plans(F32)), "--text", str(file), "--window", "64"]
    against = ["--against", str(plans(F32))]
    expected = run(plans(F32), window=64)
    result = CliRunner().invoke(app, [*command, *against])
    assert result.exit_code == 0, result.output
    assert f"{expected.perplexity:.4f}" in result.output
    assert "100.00%" in result.output
    record = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert record["perplexity"] == expected.perplexity
    assert record["bits_per_byte"] == expected.bits_per_byte
    assert record["distance"] is None


def test_a_text_that_is_none_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name, message in (("latin", r"is not UTF-8 \(byte 3\)"), ("none", "cannot be read: No")):
        error = (
            CliRunner()
            .invoke(app, ["evaluate", "no-such-model", "--text", str(tmp_path / name)])
            .exception
        )
        assert isinstance(error, InvalidRequestError)
        assert re.search(message, str(error))
