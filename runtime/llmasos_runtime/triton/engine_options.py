"""Reads the engine options from the parameters of Triton's `engine` model."""

from __future__ import annotations

from llmasos.generation_config import checked_choice

from llmasos_runtime.options import EngineOptions
from llmasos_runtime.triton.model_arguments import ModelArguments

_NAMES = ("num_threads", "kv_cache_bytes", "max_batch_size", "max_num_tokens", "max_queue_size")


def engine_options(arguments: ModelArguments) -> EngineOptions:
    """Raises InvalidRequestError, naming the parameter, its value and its limit."""
    chosen = {name: arguments.integer(name) for name in _NAMES}
    options = {name: value for name, value in chosen.items() if value is not None}
    return EngineOptions(
        **options,
        pin_threads=False,  # the server's own processes share the cores
        reuse_prefixes=arguments.boolean("enable_kv_cache_reuse") is not False,
        speculate=arguments.boolean("speculate"),
        generation_config=checked_choice(arguments.parameters.get("generation_config", "auto")),
    )
