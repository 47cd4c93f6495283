"""Engines of native plans: the tokens of a request depend on nothing but the request."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import needs_native  # noqa: F401
import pytest
from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.plan import EnginePlan
from llmasos.errors import PlanError
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.load import load_engine
from llmasos_runtime.native import native_runner
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sampling.scores import Logits
from made_engine import ask, executor_of
from tiny import write_tiny_llama

KIND = this_cpu_kind()
PROMPTS = [tuple((7 * i + j * j) % 250 for j in range(5 + 23 * i)) for i in range(6)]
PENALTIES: dict[str, Any] = {"repetition_penalty": 1.3, "frequency_penalty": 0.4}
PARAMS: list[dict[str, Any]] = [{}, {"temperature": 0.8, "seed": 5, "top_k": 20}, PENALTIES]
Load = Callable[..., Engine]
numbers = itertools.count()


@pytest.fixture(scope="module", params=["int8", "int4"])
def plan_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(request.param)
    checkpoint = write_tiny_llama(directory / "checkpoint", hidden=256)
    options = BuildOptions(target="native", precision=request.param)
    build_plan(checkpoint, directory / "plan", options)
    return directory / "plan"


@pytest.fixture
def load(plan_dir: Path) -> Iterator[Load]:
    engines: list[Engine] = []

    def load(**options: Any) -> Engine:
        chosen = {"num_threads": 2, "kv_cache_bytes": 2**25, "reuse_prefixes": False}
        engines.append(load_engine(plan_dir, EngineOptions(**{**chosen, **options})))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def answers(
    engine: Engine, prompts: Sequence[tuple[int, ...]], max_tokens: int = 20, **params: Any
) -> list[list[int]]:
    """The tokens of these prompts when all are submitted at once."""
    with executor_of(engine)._changed:  # no step begins before all are there
        sinks = [
            ask(
                engine,
                prompt,
                request_id=f"{next(numbers)}",
                max_tokens=max_tokens,
                ignore_eos=True,
                **params,
            )
            for prompt in prompts
        ]
    return [sink.token_ids for sink in sinks]


@pytest.mark.parametrize("params", PARAMS)
def test_tokens_are_the_same_alone_and_in_any_batch_and_chunks(
    load: Load, params: dict[str, Any]
) -> None:
    engine = load()
    expected = [answers(engine, [prompt], **params)[0] for prompt in PROMPTS]
    assert len({token for tokens in expected for token in tokens}) > 20
    assert answers(engine, PROMPTS, **params) == expected
    assert answers(engine, PROMPTS[::-1], **params) == expected[::-1]
    assert answers(load(max_num_tokens=13), PROMPTS, **params) == expected


@pytest.mark.parametrize("params", PARAMS)
def test_tokens_are_the_same_with_any_number_of_threads(load: Load, params: dict[str, Any]) -> None:
    expected = answers(load(num_threads=1), PROMPTS, **params)
    assert answers(load(num_threads=3), PROMPTS, **params) == expected


@pytest.mark.parametrize("params", PARAMS)
def test_tokens_are_the_same_from_a_cached_prefix(load: Load, params: dict[str, Any]) -> None:
    expected = answers(load(), PROMPTS, **params)
    engine = load(reuse_prefixes=True)
    assert answers(engine, PROMPTS, **params) == expected
    before = engine.stats().num_reused_blocks
    assert answers(engine, PROMPTS, **params) == expected
    assert engine.stats().num_reused_blocks > before


def test_the_next_turn_computes_its_own_tokens_alone(load: Load) -> None:
    engine, prompt = load(reuse_prefixes=True), PROMPTS[1]
    answer = answers(engine, [prompt])[0]
    known = len(prompt) + len(answer) - 1  # nobody computed the last one
    assert known % 32, "the last block is full in part"
    turn = (*prompt, *answer, 3, 4)
    expected = answers(load(), [turn])[0]
    sink = ask(engine, turn, request_id="next", max_tokens=20, ignore_eos=True)
    assert sink.token_ids == expected
    usage = sink.last.usage
    assert usage is not None and usage.num_cached_tokens == known


@pytest.mark.parametrize("params", PARAMS)
def test_tokens_are_the_same_when_some_were_preempted(load: Load, params: dict[str, Any]) -> None:
    roomy = load()
    expected = answers(roomy, PROMPTS[:4], 120, **params)
    block_bytes = 2**25 // roomy.stats().num_blocks
    narrow = load(kv_cache_bytes=16 * block_bytes + block_bytes // 2)
    assert answers(narrow, [*PROMPTS[:4]] * 2, 120, **params) == expected * 2
    assert narrow.stats().num_preemptions > 0


class Foreseeing:
    """A drafter that knows the answers, and is wrong now and then."""

    known: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, token_ids: list[int]) -> None:
        self._token_ids = token_ids

    def propose(self, *, most: int, price: object) -> tuple[int, ...]:
        del price
        past = tuple(self._token_ids)
        whole = next(one for one in self.known if one[: len(past)] == past)
        drafts = whole[len(past) : len(past) + min(most, len(past) % 7)]
        return tuple(1 if place % 5 == 4 else token for place, token in enumerate(drafts))


@pytest.mark.parametrize("params", PARAMS)
def test_tokens_are_the_same_when_some_were_guessed(
    load: Load, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    plain, guessing = load(speculate=False), load()
    prompts = PROMPTS[:3]
    expected = [answers(plain, [prompt], 50, **params)[0] for prompt in prompts]
    known = [(*p, *a) for p, a in zip(prompts, expected, strict=True)]
    monkeypatch.setattr(Foreseeing, "known", known)
    monkeypatch.setattr("llmasos_runtime.engine.admission.Drafter", Foreseeing)
    assert [answers(guessing, [prompt], 50, **params)[0] for prompt in prompts] == expected
    assert guessing.stats().num_accepted_tokens > 20
    assert answers(guessing, prompts, 50, **params) == expected


def test_greedy_requests_need_no_logits_and_others_do(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[object] = []
    wait = native_runner.NativeRunner.wait

    def spy(runner: native_runner.NativeRunner) -> Any:
        taken.append(wait(runner))
        return taken[-1]

    monkeypatch.setattr(native_runner.NativeRunner, "wait", spy)
    engine = load()
    greedy = answers(engine, PROMPTS[:3])
    assert not any(isinstance(scores, Logits) for scores in taken)
    penalised = answers(engine, PROMPTS[:3], **PENALTIES)
    assert all(isinstance(scores, Logits) for scores in taken[-3:])
    assert penalised != greedy
    mixed = answers(engine, PROMPTS[:3], min_tokens=20, stop_token_ids=(258,))
    assert all(isinstance(scores, Logits) for scores in taken[-3:])
    assert mixed == greedy  # no end token was the likeliest


def test_the_engine_runs_without_numba_openvino_and_torch(plan_dir: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('numba', 'openvino', 'torch'): sys.modules[name] = None\n"
        "from llmasos_runtime.load import load_engine\n"
        "from llmasos_runtime.options import EngineOptions\n"
        f"engine = load_engine({str(plan_dir)!r}, EngineOptions(num_threads=2))\n"
        "engine.close()\n"
        "print('llvmlite' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240
    )
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_code_for_another_processor_is_refused_in_one_line(
    plan_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmasos_runtime.native.code.this_cpu_kind", lambda: None)
    with pytest.raises(
        PlanError, match=rf"has machine code for {KIND}, this processor is none of them.*build"
    ) as caught:
        load_engine(plan_dir, EngineOptions(num_threads=1))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_machine_code_is_one_clear_error(plan_dir: Path, tmp_path: Path) -> None:
    from llmasos_runtime.native.code import link

    path = tmp_path / "code.o"
    path.write_bytes(b"no code" * 100)
    with pytest.raises(PlanError, match=r"code\.o is no machine code that can be linked"):
        link(path, "step")


def test_changed_machine_code_is_not_run(plan_dir: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(plan_dir, tmp_path / "plan")
    code = copy / f"code.{KIND}.o"
    content = bytearray(code.read_bytes())
    content[1000] ^= 1
    code.write_bytes(content)
    with pytest.raises(PlanError, match=rf"code\.{KIND}\.o has changed since it was built"):
        load_engine(copy, EngineOptions(num_threads=1))


def test_another_format_of_code_is_refused(plan_dir: Path) -> None:
    from llmasos_runtime.native.code import native_record

    plan = EnginePlan.read(plan_dir)
    assert plan.native is not None
    record = plan.native.model_copy(update={"format": 99})
    with pytest.raises(PlanError, match=r"native code of format 99, this release runs 4; build it"):
        native_record(plan.model_copy(update={"native": record}))


def test_buffers_larger_than_the_memory_are_refused(
    plan_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmasos_runtime.native.load.available_memory_bytes", lambda: 1000)
    with pytest.raises(PlanError, match=r"the buffers of .* need \d+ bytes, 1000 are available"):
        load_engine(plan_dir, EngineOptions(num_threads=1))


def test_a_cache_larger_than_the_memory_is_refused(load: Load) -> None:
    with pytest.raises(PlanError, match=r"kv_cache_bytes is 2\d+ bytes; \d+ are available here"):
        load(kv_cache_bytes=2 * 10**15)


def test_closing_ends_the_threads(load: Load) -> None:
    import threading

    engine = load(num_threads=3)
    names = {thread.name for thread in threading.enumerate()}
    assert {"native-1", "native-2"} <= names
    engine.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("native-")]


def told(
    engine: Engine, prompts: Sequence[tuple[int, ...]], **params: Any
) -> list[list[list[tuple[int, float]]]]:
    """The tokens and log probabilities of each answer to each prompt, all asked at once."""
    with executor_of(engine)._changed:
        sinks = [
            ask(engine, p, request_id=f"{next(numbers)}", max_tokens=20, ignore_eos=True, **params)
            for p in prompts
        ]
    return [
        [
            [(p.token_id, p.logprob) for u in sink.updates if u.index == i for p in u.logprobs]
            for i in range(params["n"])
        ]
        for sink in sinks
    ]


@pytest.mark.parametrize("sampling", [{}, {**PENALTIES, "bad_words": ("a",)}])
def test_log_probabilities_of_several_answers_are_the_same_bits_however_they_are_computed(
    load: Load, sampling: dict[str, Any]
) -> None:
    params = {"logprobs": 2, "n": 2, "temperature": 0.9, "seed": 3, **sampling}
    expected = [told(load(), [prompt], **params)[0] for prompt in PROMPTS]
    assert all(len(answer) == 20 for answers in expected for answer in answers)
    assert told(load(max_num_tokens=40), PROMPTS, **params) == expected
    assert told(load(reuse_prefixes=True, speculate=True), PROMPTS, **params) == expected
