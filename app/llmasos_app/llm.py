"""A language model in this process: the compiled engine without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmasos.arguments import params_of_each
from llmasos.encoding.encoder_model import EncoderModel
from llmasos.encoding.transport import EncodingTransport
from llmasos.engine.plan import EnginePlan, Precision
from llmasos.generation.language_model import LanguageModel
from llmasos.generation.transport import TokenPrompt
from llmasos.generation_config import GenerationConfigChoice
from llmasos.outputs import Generation
from llmasos.sampling import SamplingFields, SamplingParams
from llmasos_runtime.encoding.load import load_text_engine
from llmasos_runtime.encoding.service import EncodingService
from llmasos_runtime.load import load_engine
from llmasos_runtime.options import EngineOptions
from typing_extensions import Unpack

from llmasos_app.cache.engine_cache import find_plan
from llmasos_app.engine_transport import EngineTransport
from llmasos_app.other_task import NoEncoding, NoGeneration


class LLM(LanguageModel, EncoderModel):
    """A compiled engine, built on first use.

    A model that continues texts has `generate_text` and its like; an embedder, a classifier, a
    cross-encoder or a masked language model has the method of its task: `embed`, `classify`,
    `classify_tokens`, `rerank`, `fill_mask`.

    model: a checkpoint (a directory, a GGUF file, a hub id, `smollm2-135m-instruct`), or
        what `llmasos build` wrote (a model repository or an engine plan). A checkpoint is
        built once into the cache (`llmasos.cache.cache_dir`).
    precision: of the weights, for a checkpoint; what is built already keeps its own.
    revision: of a hub id; None is the default branch.
    num_threads: that the engine computes with; None is one for each physical core.
    kv_cache_bytes: memory for keys and values; None lets the engine choose.
    reuse_prefixes: a prompt that begins like an earlier one takes its keys and values.
    speculate: guess tokens that an answer repeats, where that is faster; None does so where it
        cannot change a token, in f32.
    generation_config: auto lets the checkpoint's generation_config.json fill in the fields that
        a call leaves out; none does without it. A SamplingParams says everything either way.

    Raises CheckpointError, PlanError. Close it, or use it as a context manager. It works in the
    process that loaded it: in one that was forked from there its methods raise
    ForkedProcessError, and closing it does nothing.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        precision: Precision = "int8",
        revision: str | None = None,
        num_threads: int | None = None,
        kv_cache_bytes: int | None = None,
        reuse_prefixes: bool = True,
        speculate: bool | None = None,
        generation_config: GenerationConfigChoice = "auto",
    ) -> None:
        plan_dir = find_plan(model, precision=precision, revision=revision)
        options = EngineOptions(
            num_threads=num_threads,
            kv_cache_bytes=kv_cache_bytes,
            reuse_prefixes=reuse_prefixes,
            speculate=speculate,
            generation_config=generation_config,
        )
        self._plan = EnginePlan.read(plan_dir)
        if self._plan.task == "generate":
            self._engine = load_engine(plan_dir, options)
            super().__init__(EngineTransport(self._engine))
            self._encoding: EncodingTransport = NoEncoding(self._plan)
        else:
            service = EncodingService(load_text_engine(plan_dir, options))
            super().__init__(NoGeneration(self._plan, service.close))
            self._encoding = service

    @property
    def plan(self) -> EnginePlan:
        """What the engine was built from and its limits."""
        return self._plan

    def generate_from_tokens(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        **fields: Unpack[SamplingFields],
    ) -> list[Generation]:
        """Continues prompts that are token ids already, as `generate` does."""
        sources = [TokenPrompt(token_ids=token_ids) for token_ids in prompts]
        return self._generate(sources, params_of_each(params, count=len(sources), **fields))
