"""Whether a running server is dead, and not just busy.

A process that ended is seen at once, and one that is stopped (SIGSTOP) after three seconds. For
the rest a canary asks for a token every so often (`llmasos serve`: every second). As long as it
waits, the server must do something: take steps, or use the processor in one of its models. A long
prompt that is tokenized, a long step and a long queue do; a deadlock does not, and is found after
three seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from llmasos.errors import (
    DeadlineExceededError,
    LLMasOSError,
    QueueFullError,
    RequestTimeoutError,
)

LOOK_S = 0.2
_STOPPED_LOOKS = 15
_LOOKS_OF_A_SPELL = 2
_IDLE_SPELLS = 7
_STEPLESS_SPELLS = 1500
_BUSY = 0.05
"""Of a processor: watching for cancelled requests and showing gauges take a tenth of it."""


class WatchedProcess(Protocol):
    """A process of the server; `processes.ModelProcess` is one.

    model: the name of the model that it runs, or nothing. name: as errors say it.
    """

    @property
    def model(self) -> str: ...
    @property
    def name(self) -> str: ...
    def is_alive(self) -> bool: ...
    def is_stopped(self) -> bool: ...
    def is_reading(self) -> bool: ...
    def cpu_s(self) -> float: ...


class Canary:
    """Asks for a token every so often, in a thread of its own.

    is_waiting: whether an answer is due. error: why there will be none.
    """

    def __init__(self, ask: Callable[[], object], *, period_s: float) -> None:
        """ask: raises LLMasOSError; it must end when the server does."""
        self._ask = ask
        self._period_s = period_s
        self._closed = threading.Event()
        self.is_waiting = False
        self.error: LLMasOSError | None = None
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more, and wait for the answer that is due."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while self.error is None and not self._closed.wait(
            0 if self.is_waiting else self._period_s
        ):
            self.is_waiting = True
            try:
                self._ask()
            except RequestTimeoutError:
                continue  # whether that is too long depends on what the server does meanwhile
            except (QueueFullError, DeadlineExceededError):
                pass  # busy is alive
            except LLMasOSError as error:
                self.error = error
            self.is_waiting = False


class Watchdog:
    """Looks at a server; `look` is called every LOOK_S and never waits long.

    Times are counted in looks: a launcher that was itself stopped has not waited.
    """

    def __init__(
        self,
        processes: Sequence[WatchedProcess],
        canary: Canary,
        *,
        poll: Callable[[], int | None],
        num_steps: Callable[[], float | None],
    ) -> None:
        """processes: the server's own and those of its models.

        poll: the server's exit status, if it has ended. num_steps: the engine's, if known.
        """
        self._processes = processes
        self._models = [one for one in processes if one.model]
        self._canary = canary
        self._poll = poll
        self._num_steps = num_steps
        self._num_looks = 0
        self._stopped_looks = dict.fromkeys((one.name for one in processes), 0)
        self._spell: _Spell | None = None
        self._idle_spells = self._stepless_spells = 0

    def look(self) -> str | None:
        """Why the server counts as dead, or None."""
        self._num_looks += 1
        return self._what_ended() or self._what_is_stopped() or self._what_is_unanswered()

    def _what_ended(self) -> str | None:
        status = self._poll()
        if status is not None:
            return f"tritonserver ended with status {status}"
        for one in self._models:
            if not one.is_alive():
                return f"{one.name} died"
        return None

    def _what_is_stopped(self) -> str | None:
        for one in self._processes:
            looks = self._stopped_looks[one.name] + 1 if one.is_stopped() else 0
            self._stopped_looks[one.name] = looks
            if looks >= _STOPPED_LOOKS:
                return f"{one.name} was stopped by a signal"
        return None

    def _what_is_unanswered(self) -> str | None:
        if self._canary.error is not None:
            return f"the server does not answer: {self._canary.error}"
        if not self._canary.is_waiting:
            self._spell, self._idle_spells, self._stepless_spells = None, 0, 0
        elif self._num_looks % _LOOKS_OF_A_SPELL == 0:
            earlier, self._spell = self._spell, _Spell(self._models, self._num_steps)
            if earlier is not None:
                return self._what_is_idle(earlier, self._spell)
        return None

    def _what_is_idle(self, earlier: _Spell, now: _Spell) -> str | None:
        """Count how long nothing was done, while the canary waits."""
        if now.has_stepped_since(earlier):
            self._idle_spells = self._stepless_spells = 0
            return None
        self._stepless_spells += 1
        self._idle_spells = 0 if now.is_busy_since(earlier) else self._idle_spells + 1
        if self._idle_spells >= _IDLE_SPELLS:
            return "the server does not answer: it takes no steps and uses no processor"
        if self._stepless_spells >= _STEPLESS_SPELLS:
            return "the server does not answer: it uses the processor and takes no steps"
        return None


class _Spell:
    """The work that was done up to one moment."""

    def __init__(
        self, processes: Sequence[WatchedProcess], num_steps: Callable[[], float | None]
    ) -> None:
        self._began = time.monotonic()
        self._cpu_s = [one.cpu_s() for one in processes]
        self._is_reading = any(one.is_reading() for one in processes)
        self.num_steps = num_steps()

    def has_stepped_since(self, earlier: _Spell) -> bool:
        """Whether the engine is known to have taken a step."""
        is_known = None not in (self.num_steps, earlier.num_steps)
        return is_known and self.num_steps != earlier.num_steps

    def is_busy_since(self, earlier: _Spell) -> bool:
        """Whether a process computed, or waits for a disk."""
        least = _BUSY * (self._began - earlier._began)
        used = (now - then for now, then in zip(self._cpu_s, earlier._cpu_s, strict=True))
        return self._is_reading or any(cpu_s >= least for cpu_s in used)
