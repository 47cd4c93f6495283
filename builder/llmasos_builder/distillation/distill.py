"""Makes a checkpoint out of a student by training it on what its teacher predicts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import PlanError
from llmasos.files.disk import not_written
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.atomic_directory import atomic_directory
from llmasos_builder.checkpoint import Checkpoint
from llmasos_builder.compression.calibration import calibration_windows
from llmasos_builder.distillation.chart import draw_losses
from llmasos_builder.distillation.hidden_states import check_hidden_sizes
from llmasos_builder.distillation.libraries import check_libraries, load_torch
from llmasos_builder.distillation.networks import (
    check_vocabularies,
    config_of,
    draw_network,
    load_network,
    load_tokenizer,
    write_network,
)
from llmasos_builder.distillation.options import DistillOptions
from llmasos_builder.distillation.teacher_logits import TeacherLogits
from llmasos_builder.distillation.training import History, Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """steps: how many were made. before, after: the held-out KL, in nats a token."""

    steps: int
    before: float
    after: float


def distill(
    teacher: Checkpoint,
    student: Checkpoint | Path,
    output: Path,
    options: DistillOptions,
    progress: Progress,
) -> Distilled:
    """Write a Hugging Face directory, in float32, with the losses as JSON and as a chart.

    student: a checkpoint, or a config.json whose network is drawn at random and has the teacher's
    tokenizer. A run that was stopped goes on from its last evaluation, given the same arguments.
    Raises InvalidRequestError for another tokenizer and for too little text, CheckpointError for
    values that are not finite, PlanError if the output is in the way or the disk is full.
    """
    check_libraries()
    work = output.absolute().parent / f".{output.name}.distilling"
    with atomic_directory(output, may_replace=lambda _: False) as directory:
        tokenizer = load_tokenizer(teacher if isinstance(student, Path) else student, directory)
        config = config_of(student) if isinstance(student, Path) else dict(student.config)
        check_vocabularies(teacher, tokenizer, int(config.get("vocab_size", 0)))
        windows = calibration_windows(tokenizer, options.calibration)
        history, network = _train(teacher, student, windows, options, work=work, progress=progress)
        write_network(network, config, directory)
        _write_history(history, directory)
    shutil.rmtree(work, ignore_errors=True)
    _, before = history.held_out[0]
    return Distilled(steps=len(history.losses), before=before, after=history.best)


def _train(
    teacher: Checkpoint,
    student: Checkpoint | Path,
    windows: NDArray[np.int64],
    options: DistillOptions,
    *,
    work: Path,
    progress: Progress,
) -> tuple[History, Any]:
    torch = load_torch()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = hashlib.sha256(windows.tobytes()).hexdigest()
    top_k = min(options.top_k, int(teacher.config["vocab_size"]))
    said = [teacher.sha256(), text, top_k, options.temperature]
    targets = TeacherLogits(work / f"teacher-{_key(said)}", windows, top_k)
    hidden = options.hidden_weight > 0
    network = None
    if hidden or not targets.is_full:
        network = load_network(teacher).eval().to(device)
        targets.fill(network, options.temperature, progress)
    origin: object
    if isinstance(student, Path):
        pupil, origin = draw_network(student, options.seed), config_of(student)
    else:
        pupil, origin = load_network(student), student.sha256()
    if hidden:
        check_hidden_sizes(network, pupil)
    chosen = {**dataclasses.asdict(options), "calibration": None}
    run = work / f"student-{_key([said, origin, chosen, device])}.pt"
    _make(run.parent)
    training = Training(pupil.to(device), windows, targets, options, network if hidden else None)
    return training.run(run, progress), pupil


def _key(value: object) -> str:
    content = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(directory, error, error=PlanError) from error


def _write_history(history: History, directory: Path) -> None:
    content = {"losses": history.losses, "held_out_kl": history.held_out}
    (directory / "distillation.json").write_text(json.dumps(content, indent=1) + "\n")
    draw_losses(history, directory / "distillation.png")
