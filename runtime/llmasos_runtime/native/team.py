"""Threads that run a step together: whoever asks for it, and workers that sleep between steps.

The workers run machine code, which lets go of Python's lock, until they are told to stop. One
that ends unexpectedly says so in STOP, at which all others look before and while they sleep: so
a step ends with an error, and never hangs.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Sequence

import numpy as np
from llmasos.engine.native_step import StepField
from llmasos.errors import EngineStoppedError
from llmasos.forked import OwnProcess
from numpy.typing import NDArray

from llmasos_runtime.native.code import StepFunction

Numbers = NDArray[np.int64]
_FUTEX, _WAKE, _ALL = 202, 129, 1024
_LONGEST_SLEEP_NS = 100_000_000
_LINE = 8
"""Numbers of one cache line."""


class Team:
    """The threads of one engine.

    arguments: of the step; those of threads are filled in here. cores: on which thread i stays,
    None to let the system choose. keep_alive: what the workers' code reads.
    """

    def __init__(
        self,
        function: StepFunction,
        arguments: Numbers,
        *,
        num_threads: int,
        num_counters: int,
        cores: Sequence[int] | None,
        keep_alive: object,
    ) -> None:
        self._process = OwnProcess("a native engine")
        self._control = _Control(arguments, num_threads, num_counters)
        self._call = _Call(function, arguments, self._control, keep_alive)
        self._cores = cores
        self._workers = [
            threading.Thread(
                target=_work,
                args=(self._call, thread, None if cores is None else cores[thread % len(cores)]),
                name=f"native-{thread}",
                daemon=True,
            )
            for thread in range(1, num_threads)
        ]
        for worker in self._workers:
            worker.start()
        self._finalizer = weakref.finalize(self, self._control.stop)

    def stay(self) -> None:
        """Keep the calling thread, which runs the steps, on the first core."""
        if self._cores is not None:
            os.sched_setaffinity(0, {self._cores[0]})

    def run(self) -> None:
        """One step. Raises ForkedProcessError, and EngineStoppedError if a thread has ended."""
        self._process.check()
        if not all(worker.is_alive() for worker in self._workers) or self._call.run(0) != 0:
            self._control.stop()
            why = f": {self._call.failure}" if self._call.failure else ""
            raise EngineStoppedError(f"a thread of the native engine has ended{why}")

    def close(self) -> None:
        """End the workers and wait for them; in a forked process there are none."""
        if not self._process.is_this:
            return
        self._finalizer()
        for worker in self._workers:
            worker.join()


class _Control:
    """Counters by which threads meet, each on a cache line of its own."""

    def __init__(self, arguments: Numbers, num_threads: int, num_counters: int) -> None:
        field = StepField
        places = (field.GO, field.BARRIER, field.ASLEEP, field.STOP, field.TIMEOUT, field.LANES)
        num_lines = len(places) + num_counters
        numbers = np.zeros((num_lines + 1) * _LINE, np.int64)
        start = -(numbers.ctypes.data // 8) % _LINE  # the first number on a border of lines
        self._lines = numbers[start : start + num_lines * _LINE].reshape(num_lines, _LINE)
        for line, place in enumerate((*places, field.COUNTERS)):
            arguments[place] = self._lines.ctypes.data + 8 * _LINE * line
        self._go, self._stop = self._lines[0], self._lines[places.index(field.STOP)]
        self._lines[places.index(field.TIMEOUT), :2] = 0, _LONGEST_SLEEP_NS
        self._lines[places.index(field.LANES)].view(np.int32)[:] = np.arange(16)
        arguments[field.THREADS] = num_threads

    def stop(self) -> None:
        """End every thread that waits, or will wait."""
        self._stop[0] = 1
        address = ctypes.c_void_p(self._go.ctypes.data)
        ctypes.CDLL(None).syscall(_FUTEX, address, _WAKE, _ALL, None, None, 0)


class _Call:
    """The step's function with its arguments; failure: why a thread could not run it."""

    def __init__(
        self, function: StepFunction, arguments: Numbers, control: _Control, keep_alive: object
    ) -> None:
        self._function, self._arguments = function, arguments
        self._keep_alive = keep_alive
        self.control = control
        self.failure: str | None = None

    def run(self, thread: int) -> int:
        """0 if all is well; for thread 0 when a step is done, for others when they stop."""
        result, raised = ctypes.c_int64(0), ctypes.c_void_p(None)
        status = self._function(
            ctypes.addressof(result), ctypes.addressof(raised), thread, self._arguments.ctypes.data
        )
        return status or result.value


def _work(call: _Call, thread: int, core: int | None) -> None:
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        call.run(thread)
    except OSError as error:
        call.failure = f"it cannot stay on core {core}: {error.strerror}"
    finally:
        call.control.stop()
