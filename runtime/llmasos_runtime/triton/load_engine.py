"""The engine that Triton's `engine` model serves, loaded as its parameters say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from llmasos_runtime.options import EngineOptions
from llmasos_runtime.running_engine import RunningEngine, open_engine
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_runtime.triton.options import OVERRIDE

_NAMES = ("num_threads", "kv_cache_bytes", "max_batch_size", "max_num_tokens", "max_queue_size")
_REUSE = "enable_kv_cache_reuse"
_SPECULATE = "speculate"


def load_engine(
    arguments: ModelArguments, environment: Mapping[str, str] = os.environ
) -> RunningEngine:
    """Load the plan that `gpt_model_path` names; raises PlanError in one line."""
    overrides = {
        name: environment[OVERRIDE + name.upper()]
        for name in (*_NAMES, _REUSE, _SPECULATE)
        if environment.get(OVERRIDE + name.upper())
    }
    arguments = replace(arguments, parameters={**arguments.parameters, **overrides})
    chosen = {name: arguments.integer(name) for name in _NAMES}
    options = {name: value for name, value in chosen.items() if value is not None}
    # The server's own processes share the cores, so no thread is bound to one.
    return open_engine(
        arguments.path("gpt_model_path"),
        EngineOptions(
            **options,
            pin_threads=False,
            reuse_prefixes=arguments.boolean(_REUSE) is not False,
            speculate=arguments.boolean(_SPECULATE),
        ),
    )
