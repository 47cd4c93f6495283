"""The engine that Triton's `engine` model serves, loaded as its parameters say."""

from __future__ import annotations

from llmasos.generation_config import checked_choice

from llmasos_runtime.engine.running_engine import RunningEngine, open_engine
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.triton.model_arguments import ModelArguments

_NAMES = ("num_threads", "kv_cache_bytes", "max_batch_size", "max_num_tokens", "max_queue_size")


def load_engine(arguments: ModelArguments) -> RunningEngine:
    """Load the plan that `gpt_model_path` names; raises PlanError in one line."""
    chosen = {name: arguments.integer(name) for name in _NAMES}
    options = {name: value for name, value in chosen.items() if value is not None}
    # The server's own processes share the cores, so no thread is bound to one.
    return open_engine(
        arguments.path("gpt_model_path"),
        EngineOptions(
            **options,
            pin_threads=False,
            reuse_prefixes=arguments.boolean("enable_kv_cache_reuse") is not False,
            speculate=arguments.boolean("speculate"),
            generation_config=checked_choice(arguments.parameters.get("generation_config", "auto")),
        ),
    )
