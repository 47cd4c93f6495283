"""CUDA graphs of decode steps that repeat, launched as a whole instead of kernel by kernel."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from llmasos.errors import LLMasOSError

from llmasos_runtime.tensorrt.cuda import CudaGraph, Stream
from llmasos_runtime.tensorrt.execution import Context

_log = logging.getLogger(__name__)
Key = tuple[int, int]
MAX_GRAPHS = 16
_MAX_SEEN = 256


@dataclass(slots=True)
class _Captured:
    """graph: None until it is captured, and if capturing failed."""

    context: Context
    graph: CudaGraph | None = None

    def close(self) -> None:
        if self.graph is not None:
            self.graph.close()
        self.context.close()


class DecodeGraphs:
    """A graph for each key (rows, first slot) that came twice; the most recently used are kept.

    A graph is valid while the context in which it was captured is not touched, so each has a
    context of its own. There the step runs once uncaptured, so that TensorRT sees its shapes,
    before the same step is captured. Addresses must depend on the key alone.
    """

    def __init__(self, stream: Stream, new_context: Callable[[], Context]) -> None:
        self._stream = stream
        self._new_context = new_context
        self._plain = new_context()
        self._captured: OrderedDict[Key, _Captured] = OrderedDict()
        self._seen: Counter[Key] = Counter()
        self._is_enabled = True

    @property
    def num_graphs(self) -> int:
        return sum(captured.graph is not None for captured in self._captured.values())

    def run(self, key: Key, bind: Callable[[Context], None]) -> None:
        """Runs a step on the stream; bind: sets a context's shapes and addresses for it.

        Earlier steps must be done.
        """
        captured = self._captured.get(key)
        if captured is not None and captured.graph is not None:
            self._captured.move_to_end(key)
            captured.graph.launch(self._stream)
        elif self._is_enabled and self._seen[key]:
            self._run_and_capture(key, bind)
        else:
            self._count(key)
            self._run_plain(bind)

    def _count(self, key: Key) -> None:
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()
        self._seen[key] += 1

    def _run_plain(self, bind: Callable[[Context], None]) -> None:
        bind(self._plain)
        self._plain.enqueue()

    def _run_and_capture(self, key: Key, bind: Callable[[Context], None]) -> None:
        if len(self._captured) >= MAX_GRAPHS:
            _, oldest = self._captured.popitem(last=False)
            oldest.close()
        try:
            captured = _Captured(self._new_context())
        except LLMasOSError as error:
            self._disable(error)
            self._run_plain(bind)
            return
        self._captured[key] = captured
        bind(captured.context)
        captured.context.enqueue()
        try:
            captured.graph = self._capture(captured.context)
        except LLMasOSError as error:
            self._disable(error)

    def _disable(self, error: LLMasOSError) -> None:
        self._is_enabled = False
        _log.warning("decode runs without CUDA graphs: %s", str(error))  # not its frames

    def _capture(self, context: Context) -> CudaGraph:
        self._stream.begin_capture()
        try:
            context.enqueue()
        except LLMasOSError:
            self._stream.abandon_capture()
            raise
        return self._stream.end_capture()

    def close(self) -> None:
        """Frees everything; the stream must be idle."""
        for captured in self._captured.values():
            captured.close()
        self._captured.clear()
        self._plain.close()
