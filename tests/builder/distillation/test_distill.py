"""A tiny student learns from a tiny teacher."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.compression.calibration import CalibrationOptions
from llmasos_builder.distillation.distill import Distilled, distill
from llmasos_builder.distillation.divergence import divergence, largest
from llmasos_builder.distillation.options import DistillOptions
from safetensors.numpy import load_file, save_file
from tiny import write_tiny_llama

WORDS = "The quick brown fox jumps over the lazy dog while 12 owls look on. "


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(WORDS[i % 60 :] for i in range(40)))
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slower here, the more so beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def options(dataset: Path, **changes: Any) -> DistillOptions:
    calibration = CalibrationOptions(dataset=dataset, samples=20, seq_length=24)
    chosen: dict[str, Any] = {
        "calibration": calibration,
        "steps": 12,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "warmup": 2,
        "top_k": 16,
        "held_out": 4,
        "evaluate_every": 3,
    }
    return DistillOptions(**(chosen | changes))


def ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""


def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A teacher, and a student that is the teacher with noise on its weights."""
    teacher = write_tiny_llama(tmp_path / "teacher")
    student = write_tiny_llama(tmp_path / "student")
    weights, other = load_file(teacher / "model.safetensors"), np.random.default_rng(1)
    noisy = {n: v + other.normal(0, 0.1, v.shape).astype(np.float32) for n, v in weights.items()}
    save_file(noisy, student / "model.safetensors")
    return teacher, student


def run(pair_of: tuple[Path, Path], output: Path, chosen: DistillOptions) -> Distilled:
    teacher, student = (open_checkpoint(path) for path in pair_of)
    return distill(teacher, student, output, chosen, ignore)


def test_a_student_comes_nearer_to_its_teacher(tmp_path: Path, dataset: Path) -> None:
    made = run(pair(tmp_path), tmp_path / "out", options(dataset, steps=30))
    assert made.after < 0.75 * made.before
    written = open_checkpoint(tmp_path / "out")
    assert written.config["intermediate_size"] == 128
    history = json.loads((tmp_path / "out/distillation.json").read_text())
    assert len(history["losses"]) == made.steps == 30
    assert (tmp_path / "out/distillation.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / ".out.distilling").exists()


def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path: Path, dataset: Path) -> None:
    of, chosen = pair(tmp_path), options(dataset, accumulation=2)
    whole = run(of, tmp_path / "whole", chosen)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "distilling" and done == 7:
            raise KeyboardInterrupt

    teacher, student = (open_checkpoint(path) for path in of)
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, student, tmp_path / "parts", chosen, stop)
    assert not (tmp_path / "parts").exists()
    stages: list[tuple[str, int]] = []
    again = distill(
        teacher, student, tmp_path / "parts", chosen, lambda s, d, t: stages.append((s, d))
    )
    assert stages[0] == ("distilling", 6), "it goes on from its last evaluation, without a teacher"
    assert again == whole
    for name in ("model.safetensors", "distillation.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_accumulation_changes_no_gradient(tmp_path: Path, dataset: Path) -> None:
    of = pair(tmp_path)
    losses = []
    for parts in (1, 4):
        run(of, tmp_path / f"{parts}", options(dataset, accumulation=parts, steps=3))
        losses.append(json.loads((tmp_path / f"{parts}/distillation.json").read_text())["losses"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_hidden_states_count_and_a_smaller_config_is_a_student(
    tmp_path: Path, dataset: Path
) -> None:
    teacher, config = write_tiny_llama(tmp_path / "teacher"), tmp_path / "small/config.json"
    config.parent.mkdir()
    content = json.loads((teacher / "config.json").read_text()) | {"num_hidden_layers": 1}
    config.write_text(json.dumps(content))
    chosen = options(dataset, hidden_weight=0.5)
    made = distill(open_checkpoint(teacher), config, tmp_path / "out", chosen, ignore)
    assert made.after < made.before
    history = json.loads((tmp_path / "out/distillation.json").read_text())
    assert history["losses"][0] > history["held_out_kl"][0][1] + 0.1  # the distance is added


def test_training_ends_when_nothing_improves(tmp_path: Path, dataset: Path) -> None:
    teacher = write_tiny_llama(tmp_path / "teacher")
    made = run((teacher, teacher), tmp_path / "out", options(dataset, patience=1, evaluate_every=1))
    assert made.steps == 1
    assert made.after == pytest.approx(0, abs=1e-5)


def test_the_divergence_is_that_of_whole_distributions_when_all_logits_are_kept() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(3, 50), torch.randn(3, 50)
    for heat in (1.0, 2.0):
        p, q = (x.div(heat).log_softmax(-1) for x in (teacher, student))
        expected = (p.exp() * (p - q)).sum(-1) * heat**2
        ids, log_probs = largest(teacher, 50, heat)
        torch.testing.assert_close(divergence(student, ids, log_probs, heat), expected)
        few = divergence(student, *largest(teacher, 8, heat), heat)
        assert ((few > 0) & (few < expected)).all()


def test_another_tokenizer_is_refused_by_its_token(tmp_path: Path, dataset: Path) -> None:
    teacher, student = pair(tmp_path)
    content = json.loads((student / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (student / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InvalidRequestError, match="tokenizer of the student differs: 'a' is"):
        run((teacher, student), tmp_path / "out", options(dataset))
    assert not (tmp_path / "out").exists()


def test_too_little_text_is_refused_with_both_numbers(tmp_path: Path, dataset: Path) -> None:
    dataset.write_text("short")
    with pytest.raises(InvalidRequestError, match="has 5 tokens, 20 samples of 24 need 480"):
        run(pair(tmp_path), tmp_path / "out", options(dataset))


def test_a_weight_that_is_not_a_number_is_refused_by_name(tmp_path: Path, dataset: Path) -> None:
    teacher, student = pair(tmp_path)
    weights = load_file(student / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0] = np.nan
    save_file(weights, student / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"student: model\.layers\.1\.mlp\.up_proj\.weight"):
        run((teacher, student), tmp_path / "out", options(dataset))


def test_a_loss_that_blows_up_is_refused_by_its_step(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(loss of step \d+|held-out KL after \d+ steps) is"):
        run(pair(tmp_path), tmp_path / "out", options(dataset, learning_rate=1e30, warmup=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0, must be at least 1"),
        ({"learning_rate": 0.0}, "learning-rate is 0.0, must be above 0"),
        ({"accumulation": 3}, "accumulation is 3, must divide the batch-size"),
        ({"held_out": 18}, "samples is 20, must be at least 22"),
    ],
)
def test_options_out_of_range_are_refused_by_name(
    dataset: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        options(dataset, **changes)
