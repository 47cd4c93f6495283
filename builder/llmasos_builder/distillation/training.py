"""Trains a student on what its teacher says of windows.

What a step does depends on its number and on the state before it alone, so that a run that goes
on from a saved state ends with the same bits as one that was never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError, PlanError
from llmasos.files.disk import is_of_the_disk, not_written
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.distillation.divergence import divergence
from llmasos_builder.distillation.hidden_states import hidden_distance
from llmasos_builder.distillation.libraries import load_torch
from llmasos_builder.distillation.options import DistillOptions
from llmasos_builder.distillation.teacher_logits import TeacherLogits

_STAGE = "distilling"


@dataclass(slots=True, kw_only=True)
class History:
    """losses: one for each step. held_out: the step and the held-out KL, in nats a token."""

    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The least held-out KL."""
        return min(kl for _, kl in self.held_out)

    def has_stalled(self, patience: int) -> bool:
        """Whether the last `patience` evaluations brought no improvement."""
        values = [kl for _, kl in self.held_out]
        return len(values) > patience and min(values[-patience:]) >= min(values[:-patience])


class Training:
    """A student on its way: weights, optimizer, the best weights so far, and the history.

    windows: [N, S]; the last options.held_out of `order` are never trained on.
    teacher: only where hidden states count.
    """

    def __init__(
        self,
        student: Any,
        windows: NDArray[np.int64],
        targets: TeacherLogits,
        options: DistillOptions,
        teacher: Any | None = None,
    ) -> None:
        self._torch = load_torch()
        self._student = student.eval()  # no dropout: what it computes depends on weights alone
        self._teacher = teacher
        self._windows, self._targets, self._options = windows, targets, options
        order = np.random.default_rng([options.seed, 0]).permutation(len(windows))
        self._held_out, self._trained = np.split(order, [options.held_out])
        self._optimizer = self._torch.optim.AdamW(
            student.parameters(),
            lr=options.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=options.weight_decay,
        )
        self.history = History()
        self._best: dict[str, Any] = {}

    def run(self, saved: Path, progress: Progress) -> History:
        """Trains to the end, from the state in the file `saved` where there is one.

        The student has the best weights then. Raises CheckpointError where the loss is not finite,
        PlanError where the state cannot be written.
        """
        options = self._options
        if saved.is_file():
            self._restore(saved)
        else:
            self._evaluate(0)
        while (step := len(self.history.losses)) < options.steps:
            progress(_STAGE, step, options.steps)
            self.history.losses.append(self._step(step))
            if (step + 1) % options.evaluate_every == 0 or step + 1 == options.steps:
                self._evaluate(step + 1)
                self._save(saved)
                if self.history.has_stalled(options.patience):
                    break
        progress(_STAGE, options.steps, options.steps)
        self._student.load_state_dict(self._best)
        return self.history

    def _step(self, step: int) -> float:
        options = self._options
        for group in self._optimizer.param_groups:
            group["lr"] = options.learning_rate_at(step)
        total = 0.0
        for part in np.array_split(self._batch(step), options.accumulation):
            loss = self._loss(part, hidden=True) / options.accumulation
            if not self._torch.isfinite(loss):
                raise CheckpointError(
                    f"the loss of step {step} is {loss.item()}", hint="lower the learning-rate"
                )
            loss.backward()
            total += float(loss.item())
        self._torch.nn.utils.clip_grad_norm_(self._student.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total

    def _batch(self, step: int) -> NDArray[np.int64]:
        """The windows of a step: each once, in another order each time around."""
        size, number = self._options.batch_size, len(self._trained)
        places = np.arange(step * size, (step + 1) * size)
        orders = {
            epoch: np.random.default_rng([self._options.seed, 1, epoch]).permutation(number)
            for epoch in set((places // number).tolist())
        }
        chosen = [self._trained[orders[p // number][p % number]] for p in places.tolist()]
        return np.array(chosen, np.int64)

    def _loss(self, chosen: NDArray[np.int64], *, hidden: bool) -> Any:
        torch, options = self._torch, self._options
        device = self._student.device
        rows = torch.from_numpy(self._windows[chosen]).to(device)
        ids, log_probs = (torch.from_numpy(a).to(device) for a in self._targets.of(chosen))
        with_hidden = hidden and self._teacher is not None
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            outputs = self._student(input_ids=rows, output_hidden_states=with_hidden)
        loss = divergence(outputs.logits.float(), ids, log_probs, options.temperature).mean()
        if with_hidden:
            distance = hidden_distance(self._teacher, rows, outputs.hidden_states)
            loss = loss + options.hidden_weight * distance
        return loss

    def _evaluate(self, step: int) -> None:
        with self._torch.inference_mode():
            losses = [self._loss(self._held_out[i : i + 1], hidden=False) for i in self._places()]
        kl = sum(float(loss.item()) for loss in losses) / len(losses)
        if not np.isfinite(kl):
            raise CheckpointError(f"the held-out KL after {step} steps is {kl}")
        self.history.held_out.append((step, kl))
        if kl <= self.history.best:
            weights = self._student.state_dict()
            self._best = {name: value.detach().clone() for name, value in weights.items()}

    def _places(self) -> range:
        return range(len(self._held_out))

    def _save(self, saved: Path) -> None:
        state = {
            "student": self._student.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "losses": self.history.losses,
            "held_out": self.history.held_out,
        }
        part = saved.with_suffix(".part")
        try:
            self._torch.save(state, part)
            part.replace(saved)
        except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
            part.unlink(missing_ok=True)
            if isinstance(error, OSError) and is_of_the_disk(error):
                raise not_written(saved, error, error=PlanError) from error
            raise PlanError(f"{saved} cannot be written: {error}") from error

    def _restore(self, saved: Path) -> None:
        state = self._torch.load(saved, weights_only=True, map_location=self._student.device)
        self._student.load_state_dict(state["student"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self.history = History(
            losses=state["losses"], held_out=[(int(s), float(k)) for s, k in state["held_out"]]
        )
