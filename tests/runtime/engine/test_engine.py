"""What becomes of requests: each gets its tokens in order, and ends exactly once."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_runner import CountingRunner
from llmasos.errors import (
    DeadlineExceededError,
    EngineStoppedError,
    InvalidRequestError,
    LLMasOSError,
    PlanError,
    QueueFullError,
)
from llmasos.outputs import FinishReason, Usage
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.engine.admission import may_speculate
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.sequences.step import Step
from made_engine import EOS, Collected, ask, engine, executor_of, plan
from made_tokenizers import byte_level, write_tokenizer
from patience import PATIENCE_S, wait_until

LONG = 100


class OneStepRunner(CountingRunner):
    """Takes one step, and holds the next."""

    def start(self, step: Step) -> None:
        if self.num_steps == 1:
            self.hold.clear()
        super().start(step)


class Clock:
    """Shows the time that the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)

    def time_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def runner() -> CountingRunner:
    return CountingRunner()


@pytest.fixture
def counter(tmp_path: Path, runner: CountingRunner) -> Iterator[Engine]:
    counter = engine(tmp_path, runner)
    yield counter
    runner.hold.set()
    counter.close()


def is_idle(counter: Engine) -> bool:
    stats = counter.stats()
    return (stats.num_running, stats.num_waiting) == (0, 0)


def test_every_token_is_an_update_and_the_last_says_how_it_ended(counter: Engine) -> None:
    answer = ask(counter, max_tokens=4)
    assert answer.last.finish_reason is FinishReason.LENGTH
    assert answer.last.usage == Usage(num_prompt_tokens=3, num_output_tokens=4)
    assert [update.token_ids for update in answer.updates] == [(53,), (54,), (55,), (56,)]
    assert all(update.usage is None for update in answer.updates[:-1])
    assert answer.text == counter.tokenizer.decode([53, 54, 55, 56])


def test_the_text_of_an_update_can_be_made_without_what_came_before(counter: Engine) -> None:
    answer = ask(counter, (150, 151), max_tokens=60)
    for update in answer.updates:
        decoded = counter.tokenizer.decode([*update.context_ids, *update.token_ids])
        assert decoded[slice(*update.text_span)] == update.text


def test_an_echo_leads_with_the_prompt(counter: Engine) -> None:
    answer = ask(counter, (60, 61), max_tokens=2, echo=True)
    assert answer.updates[0].token_ids == (60, 61, 62)
    assert answer.text == counter.tokenizer.decode([60, 61, 62, 63])
    assert answer.last.usage == Usage(num_prompt_tokens=2, num_output_tokens=2)


def test_the_models_end_token_ends_it(counter: Engine) -> None:
    answer = ask(counter, (EOS - 3,), max_tokens=50)
    assert answer.token_ids == [EOS - 2, EOS - 1, EOS]
    assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, None)
    assert answer.text == counter.tokenizer.decode([EOS - 2, EOS - 1])


def test_end_tokens_can_be_ignored_or_put_off(counter: Engine) -> None:
    ignored = ask(counter, (EOS - 2,), max_tokens=4, ignore_eos=True)
    assert ignored.token_ids == [EOS - 1, EOS, EOS + 1, EOS + 2]
    later = ask(counter, (EOS - 2,), max_tokens=9, min_tokens=3, request_id="b")
    assert EOS not in later.token_ids[:2]
    assert len(later.token_ids) == 9


def test_a_stop_token_says_which_one_it_was(counter: Engine) -> None:
    answer = ask(counter, stop_token_ids=(55,), max_tokens=50)
    assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, "55")
    assert answer.text == counter.tokenizer.decode([53, 54])
    assert answer.last.usage == Usage(num_prompt_tokens=3, num_output_tokens=3)


def test_a_stop_word_that_is_a_special_token_stops_at_its_id(tmp_path: Path) -> None:
    with closing(engine(tmp_path, CountingRunner(restarts_at=57))) as counter:
        answer = ask(counter, (54,), stop=("<s>", "never"), max_tokens=50)
        text = counter.tokenizer.decode([55, 56, 57])
        assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, "<s>")
    assert answer.token_ids == [55, 56, 57, 0, 1]
    assert answer.text == text


def test_a_stop_word_that_is_the_end_token_stops_there_though_that_is_ignored(
    tmp_path: Path,
) -> None:
    tokenizer = Tokenizer.load(
        write_tokenizer(tmp_path, byte_level(), extra_special_tokens=["<|im_end|>"])
    )
    (end,) = tokenizer.encode("<|im_end|>")
    ends = plan().model_copy(update={"eos_token_ids": (end,), "vocab_size": end + 1})
    with closing(Engine.over(ends, tokenizer, CountingRunner(vocab_size=end + 1))) as counter:
        for ignore_eos in (False, True):
            answer = ask(counter, (end - 2,), stop=("<|im_end|>",), ignore_eos=ignore_eos)
            assert answer.last.stop_reason == "<|im_end|>"
            assert answer.token_ids == [end - 1, end]


def test_a_stop_word_that_is_an_ordinary_added_token_is_found_in_text(tmp_path: Path) -> None:
    added = {"9": {"content": "<x>", "special": False, "normalized": False}}
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, byte_level(), added_tokens_decoder=added))
    (marked,) = tokenizer.encode("<x>")
    runner = CountingRunner(vocab_size=marked + 1)
    larger = plan().model_copy(update={"vocab_size": marked + 1})
    with closing(Engine.over(larger, tokenizer, runner)) as counter:
        answer = ask(counter, (marked - 2,), stop=("<x>",))
        assert answer.last.stop_reason == "<x>"
    assert answer.token_ids == [marked - 1, marked]
    assert answer.text == tokenizer.decode([marked - 1])


@pytest.mark.parametrize("word", ["<s>\n", "a<s>", "<s><e>"])
def test_a_stop_word_that_only_holds_a_special_token_is_refused(counter: Engine, word: str) -> None:
    with pytest.raises(InvalidRequestError, match="holds the special token '<s>' beside other"):
        ask(counter, stop=("b", word))


def test_a_stop_string_ends_the_text_before_it_and_frees_the_blocks(counter: Engine) -> None:
    text = counter.tokenizer.decode([53, 54, 55, 56])
    answer = ask(counter, stop=(text[2:4],), max_tokens=LONG)
    assert answer.text == text[:2]
    assert (answer.last.finish_reason, answer.last.stop_reason) == (FinishReason.STOP, text[2:4])
    assert answer.last.usage == Usage(num_prompt_tokens=3, num_output_tokens=4)
    wait_until(lambda: counter.stats().num_free_blocks == counter.stats().num_blocks)


def test_what_was_held_back_for_a_stop_string_comes_at_the_end(counter: Engine) -> None:
    text = counter.tokenizer.decode([53, 54, 55, 56])
    answer = ask(counter, stop=(text + "x",), max_tokens=4)
    assert [update.text for update in answer.updates] == ["", "", "", text]


def test_a_late_short_request_is_answered_before_an_early_long_one(
    counter: Engine, runner: CountingRunner
) -> None:
    runner.hold.clear()
    early = ask(counter, tuple(range(40)), max_tokens=LONG, request_id="early")
    assert runner.started.wait(PATIENCE_S)
    late = ask(counter, max_tokens=1, request_id="late")
    runner.hold.set()
    assert late.last.finish_reason is FinishReason.LENGTH
    assert not early.is_final or len(early.updates) == LONG
    assert early.last
    mixed = [r for r in counter.step_log() if r.num_prefill_tokens and r.num_decode_tokens]
    assert [(r.num_prefill_tokens, r.num_decode_tokens) for r in mixed] == [(3, 1)]


def test_a_long_prompt_does_not_stall_a_stream(counter: Engine, runner: CountingRunner) -> None:
    stream = ask(counter, max_tokens=20, request_id="stream")
    stream.wait_for_first()
    ask(counter, tuple(range(150)), max_tokens=1, request_id="prompt")
    assert stream.last
    steps = counter.step_log()
    assert all(step.num_prefill_tokens + step.num_decode_tokens <= 64 for step in steps)
    assert [step.index for step in steps] == list(range(len(steps)))


def test_cancelling_frees_the_blocks_at_once(counter: Engine, runner: CountingRunner) -> None:
    runner.hold.clear()
    answer = ask(counter, max_tokens=LONG)
    assert runner.started.wait(PATIENCE_S)
    assert counter.stats().num_free_blocks < counter.stats().num_blocks
    assert counter.cancel("a")
    assert counter.stats().num_free_blocks == counter.stats().num_blocks
    assert not counter.cancel("a")
    runner.hold.set()
    assert answer.last.finish_reason is FinishReason.ABORT
    assert answer.last.usage is not None
    assert answer.last.usage.num_output_tokens == len(answer.token_ids)


def test_a_request_that_waits_can_be_cancelled(tmp_path: Path, runner: CountingRunner) -> None:
    runner.hold.clear()
    one_at_a_time = engine(tmp_path, runner, options=EngineOptions(max_batch_size=1))
    first = ask(one_at_a_time, max_tokens=LONG)
    assert runner.started.wait(PATIENCE_S)
    second = ask(one_at_a_time, request_id="b")
    assert one_at_a_time.stats().num_waiting == 1
    assert one_at_a_time.cancel("b")
    runner.hold.set()
    assert second.last.usage == Usage(num_prompt_tokens=3, num_output_tokens=0)
    assert len(first.updates) == LONG
    one_at_a_time.close()


def test_cancelling_what_never_was_says_so(counter: Engine) -> None:
    assert not counter.cancel("nobody")


def test_many_threads_are_all_answered(counter: Engine) -> None:
    answers: dict[int, Collected] = {}

    def client(number: int) -> None:
        answers[number] = ask(
            counter, (number,), request_id=str(number), max_tokens=1 + number % 30
        )
        if number % 7 == 0:
            counter.cancel(str(number))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answer in answers.items():
        expected = [(number + 1 + i) % 400 for i in range(1 + number % 30)]
        assert answer.token_ids == expected[: len(answer.token_ids)]
        if answer.last.finish_reason is FinishReason.LENGTH:
            assert answer.token_ids == expected
        else:
            assert number % 7 == 0
    wait_until(lambda: is_idle(counter))
    assert counter.stats().num_free_blocks == counter.stats().num_blocks


def test_a_deadline_that_passes_is_an_error_and_frees_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that runs has nothing beside it; the other waits until it is late."""
    clock = Clock()
    monkeypatch.setattr("llmasos_runtime.engine.executor.time", clock)
    monkeypatch.setattr("llmasos_runtime.engine.admission.time", clock)
    runner = OneStepRunner()
    one_at_a_time = engine(tmp_path, runner, options=EngineOptions(max_batch_size=1))
    running = ask(one_at_a_time, max_tokens=LONG, deadline_ms=60)
    running.wait_for_first()
    waiting = ask(one_at_a_time, request_id="b", deadline_ms=30)
    clock.now += 0.061
    runner.hold.set()
    for answer, deadline_ms in ((running, 60), (waiting, 30)):
        assert isinstance(answer.error, DeadlineExceededError)
        assert f"deadline_ms of {deadline_ms} passed" in str(answer.error)
        assert answer.error.status == 504
    assert (len(running.token_ids), runner.num_steps) == (2, 2)
    assert waiting.token_ids == []
    assert is_idle(one_at_a_time)
    assert one_at_a_time.stats().num_free_blocks == one_at_a_time.stats().num_blocks
    assert len(ask(one_at_a_time, max_tokens=3, deadline_ms=60_000).token_ids) == 3
    one_at_a_time.close()


def test_a_higher_priority_is_answered_first(tmp_path: Path, runner: CountingRunner) -> None:
    runner.hold.clear()
    one_at_a_time = engine(tmp_path, runner, options=EngineOptions(max_batch_size=1))
    first = ask(one_at_a_time)
    assert runner.started.wait(PATIENCE_S)
    ended: list[str] = []
    for name, priority in (("low", 0), ("high", 1)):
        params = SamplingParams(max_tokens=2, priority=priority)
        request = Request(request_id=name, prompt_token_ids=(5,), params=params)
        one_at_a_time.submit(request, lambda u: ended.append(u.request_id) if u.is_final else None)
    runner.hold.set()
    assert first.last
    wait_until(lambda: len(ended) == 2)
    assert ended == ["high", "low"]
    one_at_a_time.close()


def test_who_is_preempted_gets_each_token_once(tmp_path: Path) -> None:
    runner = CountingRunner(num_blocks=50)
    runner.hold.clear()  # so that all run together
    counter = engine(tmp_path, runner)
    answers = [
        ask(counter, (n,), request_id=str(n), max_tokens=150, ignore_eos=True) for n in range(4)
    ]
    runner.hold.set()
    for number, answer in enumerate(answers):
        assert answer.token_ids == list(range(number + 1, number + 151))
        assert answer.last.usage == Usage(num_prompt_tokens=1, num_output_tokens=150)
    num_preempted = sum(record.num_preempted for record in counter.step_log())
    assert num_preempted == counter.stats().num_preemptions > 0
    counter.close()


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 37},
        {"max_tokens": 2**20},
        {"max_tokens": 90, "stop_token_ids": (17,), "min_tokens": 30},
        {"max_tokens": 90, "stop_token_ids": (33,)},
        {"max_tokens": 90, "stop": ("45",), "min_tokens": 50},
        {"max_tokens": 90, "stop": ("45", "9:")},
        {"max_tokens": 90, "stop": ("xyz",), "echo": True},
        {"max_tokens": 90, "stop": (";<",), "echo": True},
        {"max_tokens": 60, "temperature": 0.8, "top_k": 5, "seed": 7},
    ],
)
def test_answers_are_the_same_with_and_without_guesses(
    tmp_path: Path, params: dict[str, Any]
) -> None:
    """The network counts to 40 again and again."""
    runner = CountingRunner(restarts_at=40, max_drafts=12)
    counting = engine(tmp_path, runner, options=EngineOptions(reuse_prefixes=False))
    plain, guessed = (
        ask(counting, tuple(range(41)), request_id=name, speculate=speculate, **params)
        for name, speculate in (("plain", False), ("guessed", None))
    )
    assert guessed.token_ids == plain.token_ids
    assert guessed.text == plain.text
    for name in ("finish_reason", "stop_reason", "usage"):
        assert getattr(guessed.last, name) == getattr(plain.last, name)
    assert plain.last.usage is not None
    assert guessed.last.usage is not None
    assert plain.last.usage.num_draft_tokens == 0
    assert guessed.last.usage.num_accepted_tokens > 0
    counting.close()


@pytest.mark.parametrize(
    ("fields", "chosen", "expected"),
    [
        ({"precision": "f32", "kv_cache_precision": "f32"}, None, True),
        ({"precision": "int8", "kv_cache_precision": "f32", "deterministic": True}, None, True),
        ({"precision": "int8", "kv_cache_precision": "u8"}, None, False),
        ({"precision": "int8", "kv_cache_precision": "f32"}, None, False),
        ({"precision": "f32", "kv_cache_precision": "u8"}, None, False),
        ({"precision": "int8", "kv_cache_precision": "u8"}, True, True),
        ({"precision": "f32", "kv_cache_precision": "f32"}, False, False),
    ],
)
def test_tokens_are_guessed_where_that_cannot_change_them_unless_it_is_said(
    fields: dict[str, Any], chosen: bool | None, expected: bool
) -> None:
    one = plan().model_copy(update=fields)
    assert may_speculate(one, EngineOptions(speculate=chosen)) == expected


def test_guessing_can_be_off_unless_a_request_wants_it(tmp_path: Path) -> None:
    off = engine(
        tmp_path,
        CountingRunner(restarts_at=9, max_drafts=12),
        options=EngineOptions(speculate=False),
    )
    usages = [
        ask(
            off, tuple(range(10)), max_tokens=40, request_id=str(speculate), speculate=speculate
        ).last.usage
        for speculate in (None, True)
    ]
    assert usages[0] is not None
    assert usages[1] is not None
    assert (usages[0].num_draft_tokens, usages[1].num_accepted_tokens > 20) == (0, True)
    off.close()


def test_logits_that_are_not_finite_end_that_request_alone(tmp_path: Path) -> None:
    runner = CountingRunner(bad_token=70)
    counter = engine(tmp_path, runner)
    bad = ask(counter, (65,), request_id="bad", max_tokens=LONG)
    good = ask(counter, (80,), request_id="good", max_tokens=20)
    assert "not finite" in str(bad.error)
    assert type(bad.error) is LLMasOSError
    assert good.token_ids == list(range(81, 101))
    assert counter.stats().num_free_blocks == counter.stats().num_blocks
    counter.close()


def test_a_seed_decides_and_no_seed_is_a_fresh_one(tmp_path: Path) -> None:
    indifferent = engine(tmp_path, CountingRunner(is_sure=False))
    answers = [
        ask(
            indifferent,
            request_id=str(number),
            seed=seed,
            temperature=1.0,
            max_tokens=20,
            ignore_eos=True,
        ).token_ids
        for number, seed in enumerate((1, 1, 2, None, None))
    ]
    assert answers[0] == answers[1]
    assert len({tuple(answer) for answer in answers[1:]}) == 4
    indifferent.close()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ((), "the prompt is empty"),
        ((5,) * 200, r"the prompt has 200 tokens, at most 199 fit: max_seq_len is 200"),
        ((5, 400), "holds token 400, token ids are between 0 and 399"),
        ((-1,), "holds token -1"),
    ],
)
def test_a_bad_prompt_is_refused(counter: Engine, prompt: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        ask(counter, prompt)
    assert ask(counter).last.finish_reason is FinishReason.LENGTH


def test_max_tokens_is_cut_to_what_max_seq_len_leaves(counter: Engine) -> None:
    answer = ask(counter, (5,) * 195, max_tokens=2**31 - 1)
    assert answer.last.finish_reason is FinishReason.LENGTH
    assert len(answer.token_ids) == 5


def test_an_id_in_use_is_refused_and_can_be_used_again_later(
    counter: Engine, runner: CountingRunner
) -> None:
    runner.hold.clear()
    first = ask(counter, max_tokens=LONG)
    with pytest.raises(InvalidRequestError, match="'a' is in use"):
        ask(counter)
    runner.hold.set()
    assert first.last
    wait_until(lambda: is_idle(counter))
    assert ask(counter).last


def test_a_full_queue_refuses(tmp_path: Path, runner: CountingRunner) -> None:
    runner.hold.clear()
    small = engine(tmp_path, runner, options=EngineOptions(max_batch_size=1, max_queue_size=2))
    answers = [ask(small, request_id="running")]
    assert runner.started.wait(PATIENCE_S)
    answers += [ask(small, request_id=str(number)) for number in range(2)]
    with pytest.raises(QueueFullError, match="at most 2 may"):
        ask(small, request_id="one too many")
    runner.hold.set()
    assert all(answer.last.finish_reason for answer in answers)
    small.close()


def test_a_failing_engine_ends_every_request_with_an_error(
    tmp_path: Path, runner: CountingRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.fails_at = 3
    runner.hold.clear()  # until all have been accepted
    broken = engine(tmp_path, runner, options=EngineOptions(max_batch_size=1))
    answers = [ask(broken, request_id=str(number), max_tokens=LONG) for number in range(3)]
    runner.hold.set()
    for answer in answers:
        assert isinstance(answer.error, EngineStoppedError)
        assert "RuntimeError: out of luck" in str(answer.error)
    with pytest.raises(EngineStoppedError, match="out of luck"):
        ask(broken)
    assert "the engine has stopped" in caplog.text
    broken.close()
    assert runner.is_closed


def test_the_runner_is_closed_with_the_engine(tmp_path: Path, runner: CountingRunner) -> None:
    counting = engine(tmp_path, runner)
    ask(counting).wait_for_first()
    assert not runner.is_closed
    counting.close()
    assert runner.is_closed


def test_closing_ends_what_runs_and_refuses_what_comes(counter: Engine) -> None:
    answer = ask(counter, max_tokens=LONG)
    answer.wait_for_first()
    counter.close()
    counter.close()
    assert answer.last.finish_reason or isinstance(answer.error, EngineStoppedError)
    with pytest.raises(EngineStoppedError):
        ask(counter)
    assert counter.stats().num_free_blocks == counter.stats().num_blocks


def test_a_sink_that_raises_ends_its_own_request_alone(
    counter: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(update: Update) -> None:
        raise RuntimeError("the sink is broken")

    params = SamplingParams(max_tokens=LONG)
    counter.submit(Request(request_id="bad", prompt_token_ids=(5,), params=params), broken)
    assert len(ask(counter, max_tokens=9).token_ids) == 9
    wait_until(lambda: is_idle(counter))
    assert "a sink failed" in caplog.text


def test_a_sink_that_raises_at_the_end_ends_no_other_request_of_its_id(counter: Engine) -> None:
    following: list[Collected] = []

    def sink(update: Update) -> None:
        following.append(ask(counter, (50,), request_id="a", max_tokens=3))
        raise RuntimeError("at the end")

    params = SamplingParams(max_tokens=1)
    counter.submit(Request(request_id="a", prompt_token_ids=(60,), params=params), sink)
    assert ask(counter, request_id="b").last
    assert following[0].token_ids == [51, 52, 53]


def test_closing_tells_every_request_though_one_sink_raises(
    tmp_path: Path, runner: CountingRunner
) -> None:
    def broken(update: Update) -> None:
        raise RuntimeError("the sink is broken")

    runner.hold.clear()
    one_at_a_time = engine(tmp_path, runner, options=EngineOptions(max_batch_size=1))
    answers = [ask(one_at_a_time, request_id="first", max_tokens=LONG)]
    params = SamplingParams(max_tokens=LONG)
    one_at_a_time.submit(Request(request_id="bad", prompt_token_ids=(5,), params=params), broken)
    answers += [ask(one_at_a_time, request_id=str(number)) for number in range(2)]
    assert runner.started.wait(PATIENCE_S)
    assert one_at_a_time.cancel("1")
    closing = threading.Thread(target=one_at_a_time.close)
    closing.start()
    wait_until(lambda: executor_of(one_at_a_time)._closing)
    runner.hold.set()
    closing.join(PATIENCE_S)
    assert [type(answer.last.error) for answer in answers[:2]] == [EngineStoppedError] * 2
    assert answers[2].last.finish_reason is FinishReason.ABORT


def test_an_abandoned_request_ends_without_a_lock(counter: Engine, runner: CountingRunner) -> None:
    answer = ask(counter, max_tokens=LONG)
    answer.wait_for_first()
    with executor_of(counter)._changed:  # as if garbage were collected in the scheduler
        counter.abandon("a")
        counter.abandon("nobody")
    assert answer.last.finish_reason is FinishReason.ABORT or len(answer.updates) == LONG


def test_who_takes_an_abandoned_id_is_answered(counter: Engine) -> None:
    counter.abandon("a")
    assert ask(counter, (50,), request_id="a", max_tokens=2).token_ids == [51, 52]


def test_closing_frees_the_runner(tmp_path: Path) -> None:
    runner = CountingRunner()
    alive = weakref.ref(runner)
    one = engine(tmp_path, runner)
    assert ask(one).last
    del runner
    assert alive() is not None
    one.close()
    gc.collect()
    assert alive() is None


def test_an_idle_engine_takes_no_steps(counter: Engine) -> None:
    assert ask(counter, max_tokens=3).last
    wait_until(lambda: is_idle(counter))
    before = counter.stats().num_steps
    time.sleep(0.05)
    assert counter.stats().num_steps == before


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"num_threads": 0}, InvalidRequestError, "num_threads must be at least 1, got 0"),
        ({"max_queue_size": -1}, InvalidRequestError, "max_queue_size must be at least 1"),
        ({"kv_cache_bytes": "1GB"}, InvalidRequestError, "kv_cache_bytes must be an integer, got"),
        ({"max_batch_size": 9}, PlanError, "max_batch_size must be at most the plan's 8, got 9"),
        ({"max_num_tokens": 65}, PlanError, "max_num_tokens must be at most the plan's 64"),
    ],
)
def test_options_out_of_range_are_named(
    tmp_path: Path, chosen: dict[str, Any], error: type[LLMasOSError], message: str
) -> None:
    with pytest.raises(error, match=message):
        engine(tmp_path, options=EngineOptions(**chosen))


def test_a_step_smaller_than_a_block_of_a_quantized_cache_is_refused(tmp_path: Path) -> None:
    runner = CountingRunner(chunk_multiple=32)
    with pytest.raises(PlanError, match=r"max_num_tokens is 31, .* must be at least 32"):
        engine(tmp_path, runner, max_num_tokens=31)
    narrow = engine(tmp_path, runner, max_num_tokens=34)
    assert ask(narrow, tuple(range(100)), max_tokens=3).token_ids == [100, 101, 102]
    narrow.close()
