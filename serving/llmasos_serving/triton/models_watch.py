"""Watches each model of a server: where one computes, another may be stuck."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial

from llmasos_serving.triton.processes import ModelProcess
from llmasos_serving.triton.repositories.served_models import PlacedModel
from llmasos_serving.triton.watchdog import Canary, Watchdog

_METRICS_TIMEOUT_S = 2.0
_STEPS_TIMEOUT_S = 0.3
"""For a watchdog, which has other things to look at."""
_STEPS = re.compile(r'general_type="iteration_counter"([^}]*)\} (\S+)')


class ModelsWatch:
    """One watchdog and one canary for each model; `look` is called every LOOK_S."""

    def __init__(
        self,
        models: Sequence[PlacedModel],
        processes: Sequence[ModelProcess],
        *,
        ask: Callable[[PlacedModel], object],
        period_s: float,
        poll: Callable[[], int | None],
        metrics_url: str,
    ) -> None:
        """processes: all of the server. ask: gets a token of a model. poll: see Watchdog."""
        self._canaries = [Canary(partial(ask, model), period_s=period_s) for model in models]
        self._watchdogs = [
            Watchdog(
                processes_of(model, models, processes),
                canary,
                poll=poll,
                num_steps=partial(
                    num_steps, metrics_url, label=model.metrics_label, timeout_s=_STEPS_TIMEOUT_S
                ),
            )
            for model, canary in zip(models, self._canaries, strict=True)
        ]

    def look(self) -> str | None:
        """Why the server counts as dead, or None."""
        return next(filter(None, [watchdog.look() for watchdog in self._watchdogs]), None)

    def close(self) -> None:
        """Asks no more, and waits for the answers that are due."""
        for canary in self._canaries:
            canary.close()


def processes_of(
    model: PlacedModel, models: Sequence[PlacedModel], processes: Sequence[ModelProcess]
) -> list[ModelProcess]:
    """Those that run a model; the plain one has all that are no other's, the server's own too."""
    if not model.is_plain:
        own = model.parts(classic_names=True)
        return [process for process in processes if process.model in own]
    others = {
        part for other in models if not other.is_plain for part in other.parts(classic_names=True)
    }
    return [process for process in processes if process.model not in others]


def num_steps(
    metrics_url: str, *, label: str | None = None, timeout_s: float = _METRICS_TIMEOUT_S
) -> float | None:
    """How many steps an engine has taken, as its metrics say; None if they do not.

    label: the engine's label `model`; None is whichever engine stands first.
    """
    try:
        with urllib.request.urlopen(metrics_url, timeout=timeout_s) as response:
            lines = _STEPS.findall(response.read().decode())
    except OSError:
        return None
    wanted = "" if label is None else f'model="{label}"'
    return next((float(count) for labels, count in lines if wanted in labels), None)
