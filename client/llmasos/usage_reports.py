"""Nothing that LLMasOS depends on reports its use to anybody.

Some packages send statistics to their makers unless they are told not to. Their own switches
are environment variables, which the processes that are started inherit. OpenVINO has none: its
package sends an event and writes an identifier into the home directory whenever it is imported,
so every module of the product imports it from `llmasos.openvino_import`.
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
    """In this process and those that it starts; what the user has set stays."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
