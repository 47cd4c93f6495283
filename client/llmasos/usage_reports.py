"""Keeps the packages that LLMasOS depends on from reporting usage.

Some packages send statistics to their makers unless they are told not to. Most have a switch in
the environment, which child processes inherit. OpenVINO has none: its package sends an event
and writes an identifier into the home directory whenever it is imported, so every module of the
product imports it from `llmasos.openvino_import`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

SWITCHES: Mapping[str, str] = MappingProxyType(
    {
        "DO_NOT_TRACK": "1",  # which several packages honour, TensorRT-LLM and vLLM among them
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets' and evaluate's
    }
)


def turn_off_usage_reports() -> None:
    """Sets the switches in this process and those that it starts, unless the user has set them."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
