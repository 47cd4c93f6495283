"""Imports OpenVINO so that it reports nothing.

OpenVINO's package sends an event each time it is imported, and writes an identifier into the
home directory, through the package openvino_telemetry. If that is not installed, it uses a stub
that does nothing. So openvino_telemetry is hidden while OpenVINO is imported, and only then. An
OpenVINO that the caller imported earlier stays as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

_REPORTER = "openvino_telemetry"


@contextmanager
def _without_reporter() -> Generator[None]:
    names = [name for name in sys.modules if name.split(".")[0] == _REPORTER]
    imported_before = {name: sys.modules.pop(name) for name in names}
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        yield
    finally:
        del sys.modules[_REPORTER]
        sys.modules.update(imported_before)


with _without_reporter():
    import openvino as ov
    from openvino import op
    from openvino import opset13 as ops

PagedAttention: Callable[[list[ov.Output]], ov.Node] = getattr(op, "_PagedAttentionExtension")  # noqa: B009
"""Outside OpenVINO's stable API, as `paged_attention_transformation` is."""

__all__ = ["PagedAttention", "op", "ops", "ov"]
