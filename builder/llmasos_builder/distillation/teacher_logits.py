"""The teacher's largest logits over every window, on disk: it runs once, however long training is.

ids.npy        int32    [windows, S, k]
log_probs.npy  float32  [windows, S, k]
done.npy       bool     [windows]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError, PlanError
from llmasos.files.disk import not_written
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.distillation.divergence import largest
from llmasos_builder.distillation.libraries import load_torch


class TeacherLogits:
    """What a teacher says of windows [N, S], read from disk window by window."""

    def __init__(self, directory: Path, windows: NDArray[np.int64], top_k: int) -> None:
        """directory: is made where it is not there. Raises PlanError if it cannot be written."""
        num_windows, length = windows.shape
        self._windows = windows
        try:
            directory.mkdir(parents=True, exist_ok=True)
            shape = (num_windows, length, top_k)
            self._ids = _opened(directory / "ids.npy", np.int32, shape)
            self._log_probs = _opened(directory / "log_probs.npy", np.float32, shape)
            self._done = _opened(directory / "done.npy", np.bool_, (num_windows,))
        except OSError as error:
            raise not_written(directory, error, error=PlanError) from error

    def fill(self, teacher: Any, temperature: float, progress: Progress) -> None:
        """Runs the teacher over the windows that are not there yet.

        Raises CheckpointError where its logits are not finite, which names the window.
        """
        torch = load_torch()
        total = len(self._done)
        for index in range(total):
            progress("running the teacher", index, total)
            if self._done[index]:
                continue
            row = torch.from_numpy(self._windows[index : index + 1]).to(teacher.device)
            with torch.inference_mode():
                logits = teacher(input_ids=row).logits[0].float()
            if not torch.isfinite(logits).all():
                raise CheckpointError(f"the teacher's logits over window {index} are not finite")
            ids, log_probs = largest(logits, self._ids.shape[-1], temperature)
            self._ids[index], self._log_probs[index] = ids.cpu().numpy(), log_probs.cpu().numpy()
            self._done[index] = True
        progress("running the teacher", total, total)

    @property
    def is_full(self) -> bool:
        """Whether the teacher has seen every window."""
        return bool(self._done.all())

    def of(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns ids and log probabilities [chosen, S, k]."""
        return self._ids[chosen].astype(np.int64), np.asarray(self._log_probs[chosen])


def _opened(path: Path, kind: Any, shape: tuple[int, ...]) -> Any:
    open_memmap: Any = np.lib.format.open_memmap
    if path.is_file():
        return open_memmap(path, mode="r+")
    return open_memmap(path, mode="w+", dtype=kind, shape=shape)
