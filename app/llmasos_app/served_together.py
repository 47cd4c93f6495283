"""What `llmasos serve` serves: repositories of the models that were named, and their memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import EnginePlan
from llmasos.errors import LLMasOSError

from llmasos_app.cache.engine_cache import find_repository
from llmasos_app.named_checkpoint import NamedCheckpoint

if TYPE_CHECKING:
    from llmasos.engine.plan import Precision
    from llmasos_serving.triton.repositories.served_models import ServedRepository

    from llmasos_app.shared_memory import KVCacheSplit


def find_repositories(
    models: Sequence[NamedCheckpoint],
    *,
    precision_of: Callable[[str], Precision],
    revision: str | None,
) -> list[ServedRepository]:
    """Builds what is not built yet; the error of one model of several names that model.

    precision_of: tells the precision of a checkpoint.
    """
    from llmasos_serving.triton.repositories.served_models import ServedRepository  # noqa: PLC0415

    found: list[ServedRepository] = []
    for model in models:
        try:
            repository = find_repository(
                model.checkpoint,
                precision=precision_of(model.checkpoint),
                revision=revision,
            )
        except LLMasOSError as error:
            said = str(error)
            if len(models) > 1 and model.checkpoint not in said:
                error.args = (f"{model.checkpoint}: {said}", *error.args[1:])
            raise
        found.append(ServedRepository(repository=repository, name=model.name))
    return found


def with_shared_memory(
    repositories: Sequence[ServedRepository],
    *,
    kv_cache_bytes: int | None,
    split: KVCacheSplit,
) -> list[ServedRepository]:
    """Gives each engine its part of the memory; those of GPUs keep what they take by themselves.

    kv_cache_bytes: of all KV caches together. Raises PlanError where they do not fit.
    """
    from llmasos_app.memory_plan import plan_of_built  # noqa: PLC0415
    from llmasos_app.shared_memory import share_memory  # noqa: PLC0415

    found = list(repositories)
    plans = [one.repository / PLAN_IN_REPOSITORY for one in found]
    on_cpu = [n for n, plan in enumerate(plans) if _is_for_cpu(plan)]
    if len(on_cpu) < 2:
        return [replace(one, kv_cache_bytes=kv_cache_bytes) for one in found]
    needs = [plan_of_built(plans[number], memory=None) for number in on_cpu]
    names = [found[number].name or need.name for number, need in zip(on_cpu, needs, strict=True)]
    shared = share_memory(needs, names, kv_cache_bytes=kv_cache_bytes, split=split)
    for number, share in zip(on_cpu, shared.kv_cache_bytes, strict=True):
        found[number] = replace(found[number], kv_cache_bytes=share or None)
    return found


def _is_for_cpu(plan: Path) -> bool:
    return EnginePlan.read(plan).target in ("openvino", "native")
