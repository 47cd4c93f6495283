"""A language model in this process, for asyncio: the same methods as LLM's, awaited."""

from __future__ import annotations

import asyncio
from pathlib import Path

from llmasos.encoding.async_encoder_model import AsyncEncoderModel
from llmasos.encoding.transport import EncodingTransport
from llmasos.engine.plan import EnginePlan, Precision
from llmasos.generation.async_language_model import AsyncLanguageModel
from llmasos.generation_config import GenerationConfigChoice
from llmasos_runtime.encoding.load import load_text_engine
from llmasos_runtime.encoding.service import EncodingService
from llmasos_runtime.encoding.text_engine import TextEngine
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.load import load_engine
from llmasos_runtime.options import EngineOptions

from llmasos_app.async_engine_transport import AsyncEngineTransport
from llmasos_app.cache.engine_cache import find_plan
from llmasos_app.other_task import NoEncoding, NoGeneration


class AsyncLLM(AsyncLanguageModel, AsyncEncoderModel):
    """A compiled engine; make one with `await AsyncLLM.load(model)`.

    Cancelling a task that waits for an answer cancels its request. Long prompts and conversations
    are encoded in a thread, and then the first piece raises what is wrong with them.
    """

    def __init__(self, engine: Engine | TextEngine) -> None:
        """engine: is closed with this."""
        self._plan = engine.plan
        if isinstance(engine, Engine):
            self._engine = engine
            super().__init__(AsyncEngineTransport(engine))
            self._encoding: EncodingTransport = NoEncoding(engine.plan)
        else:
            service = EncodingService(engine)
            super().__init__(NoGeneration(engine.plan, service.close))
            self._encoding = service

    @classmethod
    async def load(
        cls,
        model: str | Path,
        *,
        precision: Precision = "int8",
        revision: str | None = None,
        num_threads: int | None = None,
        kv_cache_bytes: int | None = None,
        reuse_prefixes: bool = True,
        speculate: bool | None = None,
        generation_config: GenerationConfigChoice = "auto",
    ) -> AsyncLLM:
        """As LLM's constructor, in a thread; a checkpoint is built on first use."""
        options = EngineOptions(
            num_threads=num_threads,
            kv_cache_bytes=kv_cache_bytes,
            reuse_prefixes=reuse_prefixes,
            speculate=speculate,
            generation_config=generation_config,
        )

        def load() -> Engine | TextEngine:
            plan_dir = find_plan(model, precision=precision, revision=revision)
            is_generator = EnginePlan.read(plan_dir).task == "generate"
            return (load_engine if is_generator else load_text_engine)(plan_dir, options)

        return cls(await asyncio.to_thread(load))

    @property
    def plan(self) -> EnginePlan:
        """What the engine was built from and its limits."""
        return self._plan
