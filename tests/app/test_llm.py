"""LLM on a real engine: a tiny random Llama in f32, whose answers are the same in any batch."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llmasos import LLM, AsyncLLM, FinishReason, Generation, SamplingParams
from llmasos.engine.plan import EnginePlan
from llmasos.errors import (
    DeadlineExceededError,
    EngineStoppedError,
    InvalidRequestError,
    PlanError,
    QueueFullError,
)
from llmasos.outputs import Usage
from llmasos_app import llm as llm_module
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.sequences.request import Request, Update
from patience import wait_until
from tiny import SPECIAL_TOKENS, begin_texts, write_tiny_llama

PARAMS = SamplingParams(max_tokens=12, ignore_eos=True)
LONG = SamplingParams(max_tokens=400, ignore_eos=True, speculate=False)  # takes 400 steps


@pytest.fixture(scope="module")
def llm(tiny_repository: Path) -> Iterator[LLM]:
    with LLM(tiny_repository, num_threads=1) as llm:
        yield llm


def test_text_is_what_the_stream_brings_and_the_prompt_is_not_repeated(llm: LLM) -> None:
    pieces = list(llm.stream("Once upon", PARAMS))
    text = "".join(piece.text for piece in pieces)
    assert text == llm.generate_text("Once upon", PARAMS)
    assert len([i for piece in pieces for i in piece.token_ids]) == 12
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish_reason is FinishReason.LENGTH
    assert pieces[-1].usage == Usage(num_prompt_tokens=len("Once upon"), num_output_tokens=12)


def test_fields_say_the_same_as_sampling_params(llm: LLM) -> None:
    params = SamplingParams(max_tokens=5, ignore_eos=True)
    fields = llm.generate_text(prompt="Hello", max_tokens=5, ignore_eos=True)
    assert fields == llm.generate_text("Hello", params)
    assert llm.generate(["a"], max_tokens=5, ignore_eos=True) == llm.generate(["a"], params)


def test_many_prompts_are_answered_in_order_as_each_alone(llm: LLM) -> None:
    prompts = [f"prompt {index} " * (index % 3 + 1) for index in range(9)]
    together = llm.generate(prompts, PARAMS)
    assert [g.text for g in together] == [llm.generate_text(p, PARAMS) for p in prompts]
    assert all(len(g.token_ids) == 12 for g in together)


def test_each_prompt_may_have_its_params(llm: LLM) -> None:
    params = [SamplingParams(max_tokens=n, ignore_eos=True) for n in (1, 4)]
    answers = llm.generate(["a", "b"], params)
    assert [answer.usage.num_output_tokens for answer in answers] == [1, 4]


def test_what_comes_too_late_is_an_error(llm: LLM) -> None:
    with pytest.raises(DeadlineExceededError, match="deadline_ms of 1 passed"):
        llm.generate_text("Hello", max_tokens=400, ignore_eos=True, deadline_ms=1, priority=1)
    assert llm.generate_text("Hello", max_tokens=1, deadline_ms=60_000) is not None


def test_a_text_that_has_its_special_tokens_gets_no_others(tmp_path: Path) -> None:
    begin_texts(write_tiny_llama(tmp_path / "tiny"))
    build_plan(tmp_path / "tiny", tmp_path / "plan", BuildOptions(precision="f32"))
    begun = SPECIAL_TOKENS[0] + "Hi"
    with LLM(tmp_path / "plan", num_threads=1) as llm:
        plain = llm.generate(["Hi", begun], PARAMS)
        (alone,) = llm.generate([begun], PARAMS, add_special_tokens=False)
        text = llm.generate_text(begun, PARAMS, add_special_tokens=False)
        streamed = llm.stream(begun, PARAMS, add_special_tokens=False).read()
        tokens = llm.generate_from_tokens([llm._engine.tokenizer.encode("Hi")], PARAMS)

    async def ask() -> list[str]:
        async with await AsyncLLM.load(tmp_path / "plan", num_threads=1) as llm:
            answers = await llm.generate([begun], PARAMS, add_special_tokens=False)
            streamed = await llm.stream(begun, PARAMS, add_special_tokens=False).read()
            text = await llm.generate_text(begun, PARAMS, add_special_tokens=False)
            return [answers[0].text, streamed.text, text]

    assert [answer.usage.num_prompt_tokens for answer in (*plain, alone)] == [3, 4, 3]
    assert [alone.text, text, streamed.text, tokens[0].text] == [plain[0].text] * 4
    assert asyncio.run(ask()) == [plain[0].text] * 3


def test_a_chat_is_the_rendered_template(llm: LLM) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert llm.chat(messages, PARAMS).text == llm.generate_text(rendered, PARAMS)
    assert llm.stream_chat(messages, PARAMS).read() == llm.chat(messages, PARAMS)


def test_a_chat_template_gets_tools_and_variables(llm: LLM) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    turns = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    rendered = f'{{"name": "f"}}\n{turns}<think></think>'
    expected = llm.generate_text(rendered, PARAMS)
    variables = {"enable_thinking": False}
    for ask in (llm.chat, llm.stream_chat):
        answer = ask(messages, PARAMS, tools=[{"name": "f"}], chat_template_kwargs=variables)
        assert (answer if isinstance(answer, Generation) else answer.read()).text == expected
    with pytest.raises(InvalidRequestError, match="does not read documents"):
        llm.chat(messages, PARAMS, documents=[{"text": "x"}])


@pytest.mark.usefixtures("slow_steps")
def test_leaving_a_stream_early_frees_the_engine(llm: LLM) -> None:
    before = llm._engine.stats().num_steps
    for _ in llm.stream("Hello", LONG):
        break
    wait_until(lambda: is_idle(llm))
    assert llm._engine.stats().num_steps < before + LONG.max_tokens


def is_idle(llm: LLM) -> bool:
    stats = llm._engine.stats()
    return stats.num_running + stats.num_waiting == 0


def test_an_empty_prompt_is_refused(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError):
        llm.generate_text("")


@pytest.mark.usefixtures("slow_steps")
def test_a_prompt_that_is_refused_does_not_leave_the_others_running(llm: LLM) -> None:
    before = llm._engine.stats().num_steps
    with pytest.raises(InvalidRequestError):
        llm.generate(["good", "good", ""], LONG)
    wait_until(lambda: is_idle(llm))
    assert llm._engine.stats().num_steps < before + LONG.max_tokens


def test_a_plan_a_repository_and_a_checkpoint_are_the_same_model(
    llm: LLM,
    tiny_plan: Path,
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path))
    expected = llm.generate_text("Hello", PARAMS)
    with LLM(tiny_plan) as from_plan:
        assert from_plan.plan == llm.plan
        assert from_plan.generate_text("Hello", PARAMS) == expected
    with LLM(tiny_llama, precision="f32") as from_checkpoint:
        assert from_checkpoint.generate_text("Hello", PARAMS) == expected


def test_a_closed_llm_refuses(tiny_plan: Path) -> None:
    llm = LLM(tiny_plan)
    llm.close()
    llm.close()
    with pytest.raises(EngineStoppedError):
        llm.generate_text("Hello")


def test_a_damaged_plan_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"version": 99}')
    with pytest.raises(PlanError, match="version 99"):
        LLM(tmp_path)


class SmallEngine:
    """Holds two requests, and answers those it holds when a third comes or it is told to."""

    def __init__(self, plan_dir: Path) -> None:
        self._held: list[Callable[[], None]] = []
        self.num_refused = 0
        self.plan = EnginePlan.read(plan_dir)
        self.tokenizer = self

    @classmethod
    def load(cls, plan_dir: Path, options: object) -> SmallEngine:
        return cls(plan_dir)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [int(text)]

    def submit(self, request: Request, sink: Callable[[Update], None]) -> None:
        if len(self._held) == 2:
            self.num_refused += 1
            self.answer_all()
            raise QueueFullError("2 requests are already waiting")
        (token_id,) = request.prompt_token_ids
        usage = Usage(num_prompt_tokens=1, num_output_tokens=1)
        update = Update(
            request_id=request.request_id,
            text=str(token_id),
            finish_reason=FinishReason.STOP,
            usage=usage,
        )
        self._held.append(lambda: sink(update))
        if token_id == 6:
            self.answer_all()

    def answer_all(self) -> None:
        for answer in self._held:
            answer()
        self._held.clear()

    def cancel(self, request_id: str) -> bool:
        return False

    def close(self) -> None:
        pass


def test_more_prompts_than_the_queue_holds_wait_for_their_turn(
    monkeypatch: pytest.MonkeyPatch, tiny_plan: Path
) -> None:
    monkeypatch.setattr(llm_module, "load_engine", SmallEngine.load)
    with LLM(tiny_plan) as llm:
        answers = llm.generate([str(index) for index in range(7)])
        assert [answer.text for answer in answers] == list("0123456")
        assert llm._engine.num_refused == 3  # type: ignore[attr-defined]  # it is a SmallEngine


def test_a_prompt_that_cannot_fit_is_refused_by_its_bytes(tiny_plan: Path) -> None:
    message = "has 10000000 bytes, at most 6643 can fit: max_seq_len is 512"
    with LLM(tiny_plan) as llm:
        for ask in (llm.stream, llm.generate_text, lambda text: llm.generate([text])):
            with pytest.raises(InvalidRequestError, match=f"the prompt {message}"):
                ask("a" * 10_000_000)
        with pytest.raises(InvalidRequestError, match=r"the conversation has \d{8} bytes"):
            llm.chat([{"role": "user", "content": "a" * 10_000_000}])


@pytest.mark.parametrize("ending", ["del stream", "pass", "raise SystemExit(0)"])
def test_a_program_may_end_while_a_request_runs(tiny_plan: Path, ending: str) -> None:
    program = (
        "from llmasos import LLM\n"
        f"llm = LLM({str(tiny_plan)!r}, num_threads=1)\n"
        "stream = llm.stream('Hello', max_tokens=400, ignore_eos=True)\n"
        f"next(stream)\n{ending}\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("prompt", [None, 5, b"bytes", ["a list"]])
def test_a_prompt_that_is_no_text_is_named(llm: LLM, prompt: Any) -> None:
    with pytest.raises(InvalidRequestError, match="prompt"):
        llm.generate_text(prompt)
    with pytest.raises(InvalidRequestError, match="prompt"):
        llm.generate([prompt])


def test_one_text_is_no_list_of_prompts(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="prompts"):
        llm.generate("Hey")


@pytest.mark.parametrize("messages", [None, "Hi", [{"role": "user", "content": b"Hi"}], [5]])
def test_messages_that_are_none_are_named(llm: LLM, messages: Any) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        llm.chat(messages)
