"""Requests that TensorRT-LLM answers end like all others: once, with the same text and counts."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_tensorrt_llm
import pytest
from llmasos import LLM, AsyncLLM, SamplingParams
from llmasos.errors import (
    DeadlineExceededError,
    EngineStoppedError,
    InvalidRequestError,
    LLMasOSError,
    PlanError,
    QueueFullError,
    UnsupportedFieldError,
)
from llmasos.outputs import FinishReason, Usage
from llmasos_builder.build import BuildOptions, build
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.tensorrt_llm import iteration_stats
from llmasos_runtime.tensorrt_llm.completion import next_tokens
from llmasos_runtime.tensorrt_llm.library import release_of
from llmasos_runtime.tensorrt_llm.sampling import sampling_params
from made_engine import Collected, ask
from patience import PATIENCE_S, wait_until

EOS = 258
LONG = 100
Open = Callable[..., tuple[Engine, fake_tensorrt_llm.LLM]]


@pytest.fixture(scope="module")
def repository(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 259 tokens, the last of which ends a text; do not write into it."""
    output = tmp_path_factory.mktemp("trtllm") / "repository"
    options = BuildOptions(target="tensorrt-llm", precision="f32", max_batch_size=4)
    return build(tiny_llama, output, options)


@pytest.fixture
def open_fake(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the repository's plan with a package that is made up."""
    opened: list[Engine] = []

    def open_it(version: str = "1.3.0", **options: Any) -> tuple[Engine, fake_tensorrt_llm.LLM]:
        monkeypatch.setitem(sys.modules, "tensorrt_llm", fake_tensorrt_llm.module(version))
        engine = load_engine(repository / "engine" / "1" / "plan", EngineOptions(**options))
        opened.append(engine)
        return engine, fake_tensorrt_llm.LLMS[-1]

    yield open_it
    for engine in opened:
        engine.close()
    fake_tensorrt_llm.LLMS.clear()


def is_idle(engine: Engine) -> bool:
    return (engine.stats().num_running, engine.stats().num_waiting) == (0, 0)


def test_every_token_is_an_update_and_the_last_says_how_it_ended(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.cached_tokens = 2
    answer = ask(engine, (96, 97, 98), max_tokens=4)
    assert [update.token_ids for update in answer.updates] == [(99,), (100,), (101,), (102,)]
    assert answer.last.finish_reason is FinishReason.LENGTH
    assert answer.last.usage == Usage(num_prompt_tokens=3, num_output_tokens=4, num_cached_tokens=2)
    assert answer.text == engine.tokenizer.decode([99, 100, 101, 102])
    assert is_idle(engine)


def test_several_tokens_of_one_output_are_several_updates(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.tokens_per_step = 3
    answer = ask(engine, (96,), max_tokens=5)
    assert [update.token_ids for update in answer.updates] == [(97,), (98,), (99,), (100,), (101,)]
    assert answer.last.usage == Usage(num_prompt_tokens=1, num_output_tokens=5)


def test_an_echo_leads_with_the_prompt(open_fake: Open) -> None:
    engine, _ = open_fake()
    answer = ask(engine, (60, 61), max_tokens=2, echo=True)
    assert answer.text == engine.tokenizer.decode([60, 61, 62, 63])
    assert answer.last.usage == Usage(num_prompt_tokens=2, num_output_tokens=2)


@pytest.mark.parametrize("cuts_end", [False, True])
@pytest.mark.parametrize("tokens_per_step", [1, 5])
def test_the_models_end_token_ends_it_whether_it_is_returned_or_not(
    open_fake: Open, cuts_end: bool, tokens_per_step: int
) -> None:
    engine, llm = open_fake()
    llm.cuts_end, llm.tokens_per_step = cuts_end, tokens_per_step
    answer = ask(engine, (EOS - 3,), max_tokens=50)
    assert answer.token_ids == [EOS - 2, EOS - 1, EOS]
    assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, None)
    assert answer.last.usage == Usage(num_prompt_tokens=1, num_output_tokens=3)
    assert answer.text == engine.tokenizer.decode([EOS - 2, EOS - 1])


@pytest.mark.parametrize("cuts_end", [False, True])
def test_a_stop_token_says_which_one_it_was(open_fake: Open, cuts_end: bool) -> None:
    engine, llm = open_fake()
    llm.cuts_end = cuts_end
    answer = ask(engine, (52,), stop_token_ids=(55, 57), max_tokens=50)
    assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, "55")
    assert answer.token_ids == [53, 54, 55]
    assert answer.text == engine.tokenizer.decode([53, 54])


@pytest.mark.parametrize("cuts_end", [False, True])
def test_a_stop_word_that_is_a_special_token_stops_at_its_id(
    open_fake: Open, cuts_end: bool
) -> None:
    engine, llm = open_fake()
    llm.cuts_end = cuts_end
    answer = ask(engine, (255,), stop=("<|im_start|>",), max_tokens=50)
    ending = (answer.last.finish_reason, answer.last.stop_reason)
    assert ending == (FinishReason.STOP, "<|im_start|>")
    assert answer.token_ids == [256, 257]
    with pytest.raises(InvalidRequestError, match="beside other text"):
        ask(engine, (255,), stop=("<|im_start|>\n",))


def test_end_tokens_can_be_ignored_or_put_off(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.cuts_end = True
    ignored = ask(engine, (EOS - 2,), max_tokens=4, ignore_eos=True)
    assert ignored.token_ids == [EOS - 1, EOS, EOS + 1, EOS + 2]
    later = ask(engine, (EOS - 4,), max_tokens=9, min_tokens=3, request_id="b")
    assert later.token_ids == [EOS - 3, EOS - 2, EOS - 1, EOS]


def test_a_stop_string_ends_the_text_before_it_and_the_request_in_the_library(
    open_fake: Open,
) -> None:
    engine, llm = open_fake()
    llm.pause()
    text = engine.tokenizer.decode([53, 54, 55, 56])
    answer = ask(engine, (52,), stop=(text[2:4],), max_tokens=LONG)
    wait_until(lambda: llm.results)
    (result,) = llm.results
    llm.hold.set()
    assert answer.text == text[:2]
    assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, text[2:4])
    assert answer.last.usage == Usage(num_prompt_tokens=1, num_output_tokens=4)
    wait_until(lambda: result.is_aborted)
    assert is_idle(engine)


def test_an_answer_fills_what_max_seq_len_leaves(open_fake: Open) -> None:
    engine, _ = open_fake()
    prompt = tuple(range(100)) * 5
    answer = ask(engine, prompt, max_tokens=2**20)
    assert len(answer.token_ids) == 512 - 500
    assert answer.last.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ((), "the prompt is empty"),
        (tuple(range(200)) * 3, "the prompt has 600 tokens, at most 511 fit"),
        ((5, 259), "token 259, token ids are between 0 and 258"),
    ],
)
def test_a_bad_prompt_is_refused_at_once(
    open_fake: Open, prompt: tuple[int, ...], message: str
) -> None:
    engine, llm = open_fake()
    with pytest.raises(InvalidRequestError, match=message):
        ask(engine, prompt)
    assert not llm.results


def test_cancelling_ends_a_request_that_the_library_never_answers_again(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.pauses_after_a_token = True
    answer = ask(engine, (50,), max_tokens=LONG, ignore_eos=True)
    answer.wait_for_first()
    assert engine.cancel("a")
    assert not engine.cancel("a")
    assert answer.last.finish_reason is FinishReason.ABORT
    assert answer.last.usage is not None
    assert answer.last.usage.num_output_tokens == len(answer.token_ids) == 1
    assert all(result.is_aborted for result in llm.results)
    assert not engine.cancel("nobody")
    assert is_idle(engine)


def test_a_request_that_was_just_submitted_can_be_cancelled(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.pause()
    for number in range(50):
        answer = ask(engine, request_id=str(number), max_tokens=LONG)
        assert engine.cancel(str(number))
        assert answer.last.usage == Usage(num_prompt_tokens=3, num_output_tokens=0)
    assert all(result.is_aborted for result in llm.results)


def test_an_abandoned_request_ends_without_a_lock(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.pauses_after_a_token = True
    answer = ask(engine, (50,), max_tokens=400, ignore_eos=True)
    answer.wait_for_first()
    with engine._executor._lock:  # type: ignore[attr-defined]  # as if garbage were collected
        engine.abandon("a")
        engine.abandon("nobody")
    assert answer.last.finish_reason is FinishReason.ABORT


def test_many_threads_are_all_answered(open_fake: Open) -> None:
    engine, _ = open_fake(max_queue_size=1000)
    answers: dict[int, Collected] = {}

    def client(number: int) -> None:
        answers[number] = ask(
            engine, (number,), request_id=str(number), max_tokens=1 + number % 30, ignore_eos=True
        )
        if number % 7 == 0:
            engine.cancel(str(number))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answer in answers.items():
        expected = [number + 1 + i for i in range(1 + number % 30)]
        assert answer.token_ids == expected[: len(answer.token_ids)]
        assert answer.token_ids == expected or number % 7 == 0
    wait_until(lambda: is_idle(engine))


def test_a_full_queue_refuses_at_once_and_an_id_is_used_once(open_fake: Open) -> None:
    engine, llm = open_fake(max_batch_size=1, max_queue_size=2)
    llm.pause()
    answers = [ask(engine, request_id=str(number)) for number in range(3)]
    assert (engine.stats().num_running, engine.stats().num_waiting) == (1, 2)
    with pytest.raises(QueueFullError, match="3 requests run or wait, at most 3"):
        ask(engine, request_id="one too many")
    llm.hold.set()
    assert all(answer.last.finish_reason for answer in answers)
    llm.pause()
    again = ask(engine, request_id="0")
    with pytest.raises(InvalidRequestError, match="request_id '0' is in use"):
        ask(engine, request_id="0")
    llm.hold.set()
    assert again.last.finish_reason is FinishReason.LENGTH


def test_a_deadline_that_passes_is_an_error(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.pause()
    late = ask(engine, deadline_ms=30)
    assert isinstance(late.error, DeadlineExceededError)
    assert "deadline_ms of 30 passed" in str(late.error)
    assert all(result.is_aborted for result in llm.results)
    llm.hold.set()
    assert len(ask(engine, max_tokens=3, deadline_ms=60_000).token_ids) == 3


def test_a_request_that_fails_alone_leaves_the_others(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.pause()
    llm.fails_at, llm.fails_with = llm.num_steps + 3, fake_tensorrt_llm.RequestError("too\nlong")
    failed = ask(engine, max_tokens=LONG)
    wait_until(lambda: llm.results)
    llm.hold.set()
    assert str(failed.error) == "TensorRT-LLM fails the request: too long"
    assert not isinstance(failed.error, EngineStoppedError)
    assert len(ask(engine, max_tokens=3).token_ids) == 3
    llm.refuses = ValueError("no such thing")
    refused = ask(engine)
    assert isinstance(refused.error, InvalidRequestError)
    assert "refuses the request: no such thing" in str(refused.error)
    llm.refuses, llm.gives_up = None, "timeout"
    assert str(ask(engine).error) == "TensorRT-LLM ended the answer: timeout"


def test_a_library_that_stops_ends_every_request_with_an_error(
    open_fake: Open, caplog: pytest.LogCaptureFixture
) -> None:
    engine, llm = open_fake(max_batch_size=1)
    llm.pause()
    answers = [ask(engine, request_id=str(number), max_tokens=LONG) for number in range(3)]
    wait_until(lambda: len(llm.results) == 3)
    llm.refuses = RuntimeError("a worker died")
    answers.append(ask(engine, request_id="last"))
    for answer in answers:
        assert isinstance(answer.error, EngineStoppedError)
        assert "the engine has stopped: RuntimeError: a worker died" in str(answer.error)
    with pytest.raises(EngineStoppedError, match="a worker died"):
        ask(engine)
    assert "TensorRT-LLM has stopped" in caplog.text


def test_closing_ends_what_runs_and_shuts_the_library_down(open_fake: Open) -> None:
    engine, llm = open_fake()
    llm.pauses_after_a_token = True
    answer = ask(engine, (50,), max_tokens=400, ignore_eos=True)
    answer.wait_for_first()
    engine.close()
    engine.close()
    assert isinstance(answer.error, EngineStoppedError)
    assert llm.is_shut_down
    with pytest.raises(EngineStoppedError, match="the engine is closed"):
        ask(engine)
    assert not engine.cancel("a")
    engine.abandon("a")


def test_closing_ends_what_was_accepted_and_has_not_begun(open_fake: Open) -> None:
    engine, llm = open_fake()
    is_held, may_go_on = threading.Event(), threading.Event()

    def hold(update: Update) -> None:
        is_held.set()
        assert may_go_on.wait(PATIENCE_S)

    params = SamplingParams(max_tokens=1)
    engine.submit(Request(request_id="a", prompt_token_ids=(5,), params=params), hold)
    assert is_held.wait(PATIENCE_S)
    llm.pause()
    answer = ask(engine, request_id="b")
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: engine._executor._error)  # type: ignore[attr-defined]
    may_go_on.set()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert isinstance(answer.error, EngineStoppedError)


_LEFT_OPEN = """
import fake_tensorrt_llm
from llmasos_runtime.tensorrt_llm.executor import TensorRTLLMExecutor

class LLM(fake_tensorrt_llm.LLM):
    def shutdown(self):
        super().shutdown()
        print("shut down", flush=True)

TensorRTLLMExecutor(fake_tensorrt_llm, LLM("a"), max_batch_size=2, max_queue_size=2).stats()
"""


def test_a_program_that_ends_without_closing_shuts_the_library_down() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(fake_tensorrt_llm.__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_OPEN],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("shut down\n", "")


def test_a_sink_that_raises_ends_its_own_request_alone(
    open_fake: Open, caplog: pytest.LogCaptureFixture
) -> None:
    engine, llm = open_fake()
    llm.pauses_after_a_token = True
    seen: list[Update] = []

    def broken(update: Update) -> None:
        seen.append(update)
        raise RuntimeError("the sink is broken")

    params = SamplingParams(max_tokens=400, ignore_eos=True)
    engine.submit(Request(request_id="bad", prompt_token_ids=(5,), params=params), broken)
    wait_until(lambda: len(seen) == 2)
    assert [update.finish_reason for update in seen] == [None, FinishReason.ABORT]
    llm.pauses_after_a_token = False
    llm.hold.set()
    assert len(ask(engine, max_tokens=9).token_ids) == 9
    wait_until(lambda: is_idle(engine) and not llm.results)
    assert "a sink failed" in caplog.text


def test_a_sink_that_raises_at_the_end_ends_no_other_request_of_its_id(open_fake: Open) -> None:
    engine, _ = open_fake()
    following: list[Collected] = []

    def sink(update: Update) -> None:
        following.append(ask(engine, (50,), request_id="a", max_tokens=3))
        raise RuntimeError("at the end")

    params = SamplingParams(max_tokens=1)
    engine.submit(Request(request_id="a", prompt_token_ids=(60,), params=params), sink)
    wait_until(lambda: following)
    assert following[0].token_ids == [51, 52, 53]


def test_the_gauges_show_the_librarys_cache_and_that_it_works(
    open_fake: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache's from the first request on."""
    monkeypatch.setattr(iteration_stats, "_PERIOD_S", 0.01)
    engine, llm = open_fake()
    time.sleep(0.1)
    assert (engine.stats().num_blocks, llm.num_vain_reports) == (0, 0)
    assert ask(engine, max_tokens=1).last
    wait_until(lambda: engine.stats().num_blocks)
    assert llm.num_vain_reports == 0
    stats = engine.stats()
    assert (stats.num_blocks, stats.num_free_blocks, stats.num_reused_blocks) == (100, 60, 7)
    assert ask(engine, max_tokens=5).last
    assert engine.stats().num_steps >= stats.num_steps + 5
    assert (engine.block_size, engine.step_log()) == (32, ())


def test_statistics_that_fail_stop_nothing(
    open_fake: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(llm: object, timeout: float) -> None:
        raise RuntimeError("not enabled")

    monkeypatch.setattr(fake_tensorrt_llm.LLM, "get_stats_async", failing)
    engine, _ = open_fake()
    assert len(ask(engine, max_tokens=3).token_ids) == 3
    wait_until(lambda: "gives no statistics" in caplog.text)
    assert len(ask(engine, max_tokens=3).token_ids) == 3
    assert engine.stats().num_blocks == 0


def test_the_library_is_given_the_checkpoint_and_the_limits(
    open_fake: Open, tiny_llama: Path
) -> None:
    engine, llm = open_fake(max_num_tokens=300, reuse_prefixes=False, kv_cache_bytes=2**20)
    assert llm.model == str(tiny_llama.absolute())
    assert (llm.kwargs["max_batch_size"], llm.kwargs["max_num_tokens"]) == (4, 300)
    assert (llm.kwargs["max_seq_len"], llm.kwargs["enable_chunked_prefill"]) == (512, True)
    cache = llm.kwargs["kv_cache_config"]
    assert (cache.enable_block_reuse, cache.tokens_per_block) == (False, 32)
    assert cache.max_tokens == 2**20 // (2 * 2 * 2 * 16 * 4)
    _, freely = open_fake()
    assert freely.kwargs["kv_cache_config"] == fake_tensorrt_llm.KvCacheConfig()
    assert engine.plan.target == "tensorrt-llm"


def test_limits_that_do_not_go_together_are_refused(open_fake: Open) -> None:
    with pytest.raises(PlanError, match="max_batch_size must be at most the plan's 4, got 5"):
        open_fake(max_batch_size=5)
    with pytest.raises(PlanError, match=r"kv_cache_bytes is 1000 bytes; one sequence .* 262144"):
        open_fake(kv_cache_bytes=1000)


def test_an_absent_package_names_the_extra(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", None)
    with pytest.raises(PlanError) as caught:
        LLM(repository)
    assert "needs the package tensorrt_llm, which is not installed" in str(caught.value)
    assert "pip install 'llmasos[tensorrt-llm]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_that_cannot_load_says_why_in_one_line(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_llm.py").write_text("raise OSError('libnvinfer is missing\\nso it is')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PlanError, match=r"tensorrt_llm cannot be loaded: libnvinfer is missing$"):
        LLM(repository)
    monkeypatch.delitem(sys.modules, "tensorrt_llm", raising=False)
    (tmp_path / "tensorrt_llm.py").write_text("import no_such_module_of_its_own")
    with pytest.raises(PlanError, match="cannot be loaded: No module named 'no_such_module"):
        LLM(repository)


def test_what_the_library_says_when_it_cannot_load_is_one_line(
    open_fake: Open, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path
) -> None:
    def failing(llm: object, **fields: object) -> None:
        raise RuntimeError("no GPU\nand more")

    monkeypatch.setattr(fake_tensorrt_llm.LLM, "__init__", failing)
    with pytest.raises(PlanError, match=f"cannot load {tiny_llama}: no GPU$"):
        open_fake()


def test_a_checkpoint_that_changed_or_is_gone_is_not_loaded(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", fake_tensorrt_llm.module())
    checkpoint = Path(shutil.copytree(tiny_llama, tmp_path / "checkpoint"))
    options = BuildOptions(target="tensorrt-llm", precision="f32")
    made = build(checkpoint, tmp_path / "repository", options)
    with (checkpoint / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(PlanError, match=r"model\.safetensors has \d+ bytes, \d+ expected"):
        LLM(made)
    shutil.rmtree(checkpoint)
    with pytest.raises(PlanError, match="checkpoint, which does not exist; bring the checkpoint"):
        LLM(made)
    assert not fake_tensorrt_llm.LLMS


def made_sequence(ends: tuple[int, ...], **fields: Any) -> Sequence:
    return Sequence(
        request_id="a",
        token_ids=[5, 5, 5, 5],
        params=SamplingParams(**fields),
        max_len=24,
        end_token_ids=frozenset(ends),
        seed=0,
    )


def params_for(version: str = "1.3.0", *, ends: tuple[int, ...] = (7,), **fields: Any) -> Any:
    return sampling_params(fake_tensorrt_llm.module(version), made_sequence(ends, **fields))


def test_sampling_is_said_in_the_librarys_words() -> None:
    greedy = params_for()
    assert (greedy.top_k, greedy.temperature, greedy.top_p, greedy.seed) == (1, None, None, None)
    assert (greedy.end_id, greedy.stop_token_ids) == (-1, [7])
    assert (greedy.max_tokens, greedy.min_tokens) == (20, None)
    assert greedy.include_stop_str_in_output and not greedy.detokenize and not greedy.ignore_eos
    plain = params_for(temperature=0.7)
    assert (plain.temperature, plain.top_k, plain.top_p, plain.min_p) == (0.7, None, None, None)
    chosen = params_for(temperature=0.7, top_k=5, top_p=0.9, min_p=0.1, seed=2**63, ends=(9, 3))
    assert (chosen.top_k, chosen.top_p, chosen.min_p, chosen.seed) == (5, 0.9, 0.1, 2**63)
    assert chosen.stop_token_ids == [3, 9]
    endless = params_for(min_tokens=5, ends=())
    assert (endless.end_id, endless.stop_token_ids, endless.min_tokens) == (-1, None, None)
    late = params_for(min_tokens=5)
    assert (late.end_id, late.stop_token_ids, late.min_tokens) == (7, None, 5)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"min_p": 0.1, "temperature": 1.0}, "min_p"),
        ({"seed": 0, "temperature": 1.0}, "seed"),
        ({"min_tokens": 2}, "min_tokens"),
    ],
)
@pytest.mark.parametrize("version", ["1.2.1", "1.3.0rc24", "1.3.0.dev5"])
def test_what_an_older_version_ignores_is_refused_by_name(
    fields: dict[str, Any], name: str, version: str
) -> None:
    with pytest.raises(UnsupportedFieldError, match=f"{name} needs tensorrt_llm 1.3, .*{version}"):
        params_for(version, **fields)
    for newer in ("1.3.0", "1.3.0.post1", "1.4.0rc1", "2.0.0"):
        assert params_for(newer, **fields)
    assert params_for(version, **{**fields, "temperature": 0.0, "min_tokens": 0})


def test_what_no_version_does_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedFieldError, match="min_tokens with one end token; this request has"
    ):
        params_for(min_tokens=2, ends=(7, 8))
    with pytest.raises(UnsupportedFieldError, match=r"priority is not supported .* got 3"):
        params_for(priority=3)
    with pytest.raises(UnsupportedFieldError, match=r"repetition_penalty is not .* got 1.1"):
        params_for(repetition_penalty=1.1)


@pytest.mark.parametrize(
    ("version", "release"),
    [("1.2.1", (1, 2)), ("1.3.0", (1, 3)), ("1.3.0rc24", (1, 2)), ("1.3.1rc1", (1, 3))],
)
def test_a_prerelease_counts_as_the_release_before(version: str, release: tuple[int, int]) -> None:
    assert release_of(fake_tensorrt_llm.module(version)) == release


def test_an_end_that_nobody_asked_for_is_an_error() -> None:
    output = fake_tensorrt_llm.CompletionOutput([], "stop", "a word")
    with pytest.raises(LLMasOSError, match="ended the answer by 'a word'"):
        list(next_tokens(type("Output", (), {"outputs": [output]}), made_sequence((3, 4))))


def test_clients_in_process_work_unchanged(repository: Path, open_fake: Open) -> None:
    open_fake()
    with LLM(repository) as llm:
        assert llm.plan.target == "tensorrt-llm"
        assert llm.generate_text("abc", max_tokens=4) == "defg"
        both = llm.generate(["a", "x"], SamplingParams(max_tokens=2))
        assert [generation.text for generation in both] == ["bc", "yz"]
        stream = llm.stream("A", max_tokens=200, ignore_eos=True)
        assert next(stream).text == "B"
        del stream
        gc.collect()
        assert llm.chat([{"role": "user", "content": "hello"}], max_tokens=1).usage

    async def asynchronously() -> str:
        async with await AsyncLLM.load(repository) as llm:
            return await llm.generate_text("abc", max_tokens=3)

    assert asyncio.run(asynchronously()) == "def"
