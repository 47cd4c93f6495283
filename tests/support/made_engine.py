"""Engines over a runner that counts, and their updates collected."""

from __future__ import annotations

import threading
from pathlib import Path

from fake_runner import VOCAB_SIZE, CountingRunner
from llmasos.engine.plan import PLAN_VERSION, CheckpointRecord, EnginePlan, Limits
from llmasos.engine.weight_format import stored_weights
from llmasos.errors import LLMasOSError
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.engine.executor import Executor
from llmasos_runtime.sequences.request import Request, Update
from made_tokenizers import byte_level, write_tokenizer
from patience import PATIENCE_S

EOS = 390


def plan(**limits: int) -> EnginePlan:
    return EnginePlan(
        version=PLAN_VERSION,
        name="counter",
        target="openvino",
        architecture="Counter",
        precision="f32",
        weights=stored_weights("f32"),
        kv_cache_precision="f32",
        deterministic=False,
        limits=Limits(**{"max_batch_size": 8, "max_num_tokens": 64, "max_seq_len": 200, **limits}),
        vocab_size=VOCAB_SIZE,
        num_layers=1,
        num_kv_heads=1,
        head_size=1,
        eos_token_ids=(EOS,),
        checkpoint=CheckpointRecord(source="none", sha256="0" * 64),
        built_with={},
        files={},
    )


def engine(
    tmp_path: Path,
    runner: CountingRunner | None = None,
    *,
    options: EngineOptions | None = None,
    **limits: int,
) -> Engine:
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path / "tokenizer", byte_level()))
    return Engine.over(plan(**limits), tokenizer, runner or CountingRunner(), options)


def executor_of(engine: Engine) -> Executor:
    """What runs its steps, for a test that must hold them."""
    assert isinstance(engine._executor, Executor)
    return engine._executor


class Collected:
    """A sink that keeps the updates of one request."""

    def __init__(self) -> None:
        self._updates: list[Update] = []
        self._first = threading.Event()
        self._final = threading.Event()

    def __call__(self, update: Update) -> None:
        assert not self._final.is_set(), "an update after the final one"
        self._updates.append(update)
        self._first.set()
        if update.is_last:
            self._final.set()

    def wait_for_first(self) -> None:
        assert self._first.wait(PATIENCE_S)

    @property
    def is_final(self) -> bool:
        return self._final.is_set()

    @property
    def last(self) -> Update:
        assert self._final.wait(PATIENCE_S), "no final update came"
        return self._updates[-1]

    @property
    def updates(self) -> list[Update]:
        assert self.last
        return self._updates

    @property
    def token_ids(self) -> list[int]:
        return [token_id for update in self.updates for token_id in update.token_ids]

    @property
    def text(self) -> str:
        return "".join(update.text for update in self.updates)

    @property
    def error(self) -> LLMasOSError:
        error = self.last.error
        assert error is not None
        return error


def ask(
    engine: Engine,
    prompt: tuple[int, ...] = (50, 51, 52),
    *,
    request_id: str = "a",
    echo: bool = False,
    **params: object,
) -> Collected:
    fields = {"max_tokens": 5, **params}
    sink = Collected()
    request = Request(
        request_id=request_id,
        prompt_token_ids=prompt,
        params=SamplingParams(**fields),  # type: ignore[arg-type]  # a test says what it likes
        echo=echo,
    )
    engine.submit(request, sink)
    return sink
