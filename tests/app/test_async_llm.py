"""AsyncLLM on a real engine: what LLM answers, and a task that is cancelled ends its request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from llmasos import LLM, AsyncLLM, FinishReason, SamplingParams
from llmasos.errors import EngineStoppedError, InvalidRequestError, QueueFullError
from llmasos.generation.async_stream import AsyncPieceStream
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos.text.tokenizer import Tokenizer
from llmasos_app.async_engine_transport import AsyncEngineTransport
from llmasos_runtime.engine.engine import EngineOptions
from llmasos_runtime.load import load_engine
from patience import PATIENCE_S, until

PARAMS = SamplingParams(max_tokens=12, ignore_eos=True)
LONG = SamplingParams(max_tokens=400, ignore_eos=True, speculate=False)  # takes 400 steps


def run(plan: Path, act: Callable[[AsyncLLM], Awaitable[None]], **options: int) -> None:
    """Let a coroutine act on a fresh engine."""

    async def main() -> None:
        chosen = {"num_threads": 1, "kv_cache_bytes": 2**25, **options}
        async with AsyncLLM(load_engine(plan, EngineOptions(**chosen))) as llm:  # type: ignore[arg-type]  # all numbers
            await act(llm)

    asyncio.run(main())


def is_idle(llm: AsyncLLM) -> bool:
    stats = llm._engine.stats()
    return stats.num_running + stats.num_waiting == 0


async def until_ended_early(llm: AsyncLLM) -> None:
    """Nothing runs any more, and no long answer came to its end."""
    await until(lambda: is_idle(llm))
    assert llm._engine.stats().num_steps < LONG.max_tokens


def test_it_answers_what_llm_answers(tiny_repository: Path) -> None:
    with LLM(tiny_repository, num_threads=1) as llm:
        texts = [llm.generate_text(prompt, PARAMS) for prompt in ("one", "two")]
        chat = llm.chat([{"role": "user", "content": "Hi"}], PARAMS)
        with_tools = llm.chat([{"role": "user", "content": "Hi"}], PARAMS, tools=[{"name": "f"}])

    async def main() -> None:
        async with await AsyncLLM.load(tiny_repository, num_threads=1) as llm:
            assert llm.plan.name == "tiny-llama"
            assert await llm.generate_text("one", PARAMS) == texts[0]
            assert [g.text for g in await llm.generate(["one", "two"], PARAMS)] == texts
            counts = [g.usage.num_output_tokens for g in await llm.generate(["one"], max_tokens=3)]
            assert counts == [3]
            pieces = [piece async for piece in llm.stream("two", PARAMS)]
            assert "".join(piece.text for piece in pieces) == texts[1]
            assert [p.finish_reason for p in pieces] == [None] * 11 + [FinishReason.LENGTH]
            messages = [{"role": "user", "content": "Hi"}]
            assert await llm.chat(messages, PARAMS) == chat
            assert await llm.chat(messages, PARAMS, tools=[{"name": "f"}]) == with_tools

    asyncio.run(main())


def test_many_tasks_run_side_by_side(tiny_plan: Path) -> None:
    async def act(llm: AsyncLLM) -> None:
        alone = [await llm.generate_text(str(number), PARAMS) for number in range(20)]
        tasks = [llm.generate_text(str(number), PARAMS) for number in range(20)]
        assert await asyncio.gather(*tasks) == alone

    run(tiny_plan, act)


@pytest.mark.usefixtures("slow_steps")
def test_a_cancelled_task_ends_its_request(tiny_plan: Path) -> None:
    async def act(llm: AsyncLLM) -> None:
        task = asyncio.create_task(llm.generate_text("Hello", LONG))
        await until(lambda: llm._engine.stats().num_steps)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_ended_early(llm)

    run(tiny_plan, act)


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("how", ["break", "aclose", "with", "dropped"])
def test_leaving_a_stream_ends_its_request(tiny_plan: Path, how: str) -> None:
    async def act(llm: AsyncLLM) -> None:
        if how == "break":
            async for _ in llm.stream("Hello", LONG):
                break
        elif how == "with":
            async with llm.stream("Hello", LONG) as stream:
                await anext(aiter(stream))
        else:
            stream = llm.stream("Hello", LONG)
            await anext(aiter(stream))
            if how == "aclose":
                await stream.aclose()
                await stream.aclose()
            del stream
        await until_ended_early(llm)

    run(tiny_plan, act)


def test_more_prompts_than_the_queue_holds_wait_for_their_turn(tiny_plan: Path) -> None:
    async def act(llm: AsyncLLM) -> None:
        answers = await llm.generate([str(number) for number in range(30)], PARAMS)
        assert len({answer.text for answer in answers}) > 10
        streams = [llm.stream("a", LONG)]
        await anext(aiter(streams[0]))
        with pytest.raises(QueueFullError):
            streams += [llm.stream("b", LONG) for _ in range(9)]
        for stream in streams:
            await stream.aclose()

    run(tiny_plan, act, max_batch_size=1, max_queue_size=3)


@pytest.mark.usefixtures("slow_steps")
def test_errors_are_those_of_llm(tiny_plan: Path) -> None:
    async def act(llm: AsyncLLM) -> None:
        with pytest.raises(InvalidRequestError, match="the prompt is empty"):
            await llm.generate_text("")
        with pytest.raises(InvalidRequestError, match="max_tokens must be"):
            llm.stream("a", max_tokens=0)
        with pytest.raises(InvalidRequestError):
            await llm.generate(["good", ""], LONG)
        await until_ended_early(llm)
        stream = llm.stream("Hello", LONG)
        await llm.aclose()
        with pytest.raises(EngineStoppedError):
            await stream.read()

    run(tiny_plan, act)


class HeldTokenizer(Tokenizer):
    """Encodes when it is let."""

    held: threading.Event

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        assert self.held.wait(PATIENCE_S)
        return super().encode(text, add_special_tokens=add_special_tokens)[:100]


def held(llm: AsyncLLM, plan: Path) -> threading.Event:
    """Its prompts are not encoded before this is set."""
    HeldTokenizer.held = threading.Event()
    assert isinstance(llm._transport, AsyncEngineTransport)
    llm._transport._encoder = PromptEncoder(HeldTokenizer.load(plan), max_seq_len=1 << 20)
    return HeldTokenizer.held


async def threads_are_free() -> None:
    """Both threads of the loop have ended what they did."""
    both = threading.Barrier(2)
    await asyncio.gather(*(asyncio.to_thread(both.wait, PATIENCE_S) for _ in range(2)))


def long_streams(llm: AsyncLLM) -> list[AsyncPieceStream]:
    return [llm.stream("a" * 5000, PARAMS), llm.stream_chat([{"role": "user", "content": "a"}])]


def test_the_loop_goes_on_while_long_prompts_and_chats_are_encoded(tiny_plan: Path) -> None:
    async def act(llm: AsyncLLM) -> None:
        let = held(llm, tiny_plan)
        many = asyncio.create_task(llm.generate(["a"], PARAMS))
        reading = [asyncio.create_task(stream.read()) for stream in long_streams(llm)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in (many, *reading))
        let.set()
        assert all([(await task).text for task in reading])
        assert len(await many) == 1

    run(tiny_plan, act)


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("how", ["aclose", "dropped", "cancelled"])
def test_a_stream_may_be_left_while_its_prompt_is_encoded(tiny_plan: Path, how: str) -> None:
    async def act(llm: AsyncLLM) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        let = held(llm, tiny_plan)
        streams = [llm.stream("a" * 5000, LONG) for _ in range(2)]
        if how == "aclose":
            for stream in streams:
                await stream.aclose()
        elif how == "cancelled":
            reading = [asyncio.create_task(stream.read()) for stream in streams]
            await asyncio.sleep(0.01)
            for task in reading:
                task.cancel()
            assert all(
                isinstance(end, asyncio.CancelledError)
                for end in await asyncio.gather(*reading, return_exceptions=True)
            )
            del reading
        streams.clear()
        let.set()
        await threads_are_free()
        await until_ended_early(llm)

    run(tiny_plan, act)


def test_what_is_wrong_with_a_long_prompt_is_raised_by_its_first_piece(tiny_plan: Path) -> None:
    async def act(llm: AsyncLLM) -> None:
        with pytest.raises(InvalidRequestError, match="the prompt has 10000000 bytes, at most"):
            await llm.generate_text("a" * 10_000_000)
        with pytest.raises(InvalidRequestError, match="the conversation has"):
            await llm.chat([{"role": "user", "content": "a" * 10_000_000}])
        await llm.stream("a" * 10_000_000).aclose()

    run(tiny_plan, act)


def test_a_closed_loop_does_not_hurt_the_engine(tiny_plan: Path) -> None:
    engine = load_engine(tiny_plan, EngineOptions(num_threads=1, kv_cache_bytes=2**25))

    async def begin() -> object:
        return AsyncLLM(engine).stream("Hello", LONG)

    stream = asyncio.run(begin())
    time.sleep(0.05)
    del stream
    assert asyncio.run(AsyncLLM(engine).generate_text("Hello", PARAMS))
    engine.close()
