"""Which model a command talks to: one in this process, or a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos.errors import InvalidRequestError

if TYPE_CHECKING:
    from llmasos.engine.plan import Precision
    from llmasos.generation_config import GenerationConfigChoice
    from llmasos.triton.triton_client import TritonClient

    from llmasos_app.llm import LLM


def open_model(
    *,
    model: str | None,
    url: str | None,
    precision: Precision | None,
    revision: str | None,
    threads: int | None,
    generation_config: GenerationConfigChoice | None = None,
) -> LLM | TritonClient:
    """With a url, model is the name under which the server has it; None is its first one.

    Raises InvalidRequestError where neither is given.
    """
    if model is None and url is None:
        raise InvalidRequestError("give --model or --url")
    if url is not None:
        from llmasos.triton.triton_client import TritonClient

        for name, value in (("precision", precision), ("revision", revision), ("threads", threads)):
            if value is not None:
                raise InvalidRequestError(f"--{name} is for --model, a server has its own")
        if generation_config is not None:
            raise InvalidRequestError(
                "--generation-config is for --model; `llmasos serve` has that option too"
            )
        return TritonClient(url, model=model)
    from llmasos_app.llm import LLM

    assert model is not None
    chosen = chosen_precision(model, precision)
    return LLM(
        model,
        precision=chosen,
        revision=revision,
        num_threads=threads,
        generation_config=generation_config or "auto",
    )


def chosen_precision(model: str, precision: Precision | None) -> Precision:
    """The precision to build a model in; raises InvalidRequestError if it is built in another."""
    from llmasos.engine.plan import EnginePlan

    from llmasos_app.cache.engine_cache import find_built

    if precision is None:
        return "int8"
    plan_dir = find_built(model)
    built = None if plan_dir is None else EnginePlan.read(plan_dir).precision
    if built not in (None, precision):
        raise InvalidRequestError(
            f"precision is {precision}, and {model} is built in {built}; name its checkpoint"
        )
    return precision
