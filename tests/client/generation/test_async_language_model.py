"""The methods of a language model for asyncio over a transport that is made for it."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from fake_transport import FakeAsyncTransport, Room
from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.generation.async_language_model import AsyncLanguageModel
from llmasos.generation.transport import TextPrompt
from patience import PATIENCE_S, until

NUMBERS = [str(number) for number in range(9)]


def generate(room: Room, prompts: list[str], released: deque[str] | None = None) -> list[str]:
    async def main() -> list[str]:
        model = AsyncLanguageModel(FakeAsyncTransport(room, released))
        return [answer.text for answer in await model.generate(prompts)]

    return asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_no_more_prompts_run_together_than_the_transport_allows() -> None:
    room = Room(max_concurrent=3)
    assert generate(room, NUMBERS) == NUMBERS
    assert (room.most, room.num_refused) == (3, 0)


def test_whichever_answer_comes_first_makes_room() -> None:
    room = Room(max_concurrent=2)
    assert generate(room, list("abcd"), deque("bcda")) == list("abcd")
    assert room.most == 2


def test_prompts_wait_while_the_queue_is_full_and_are_prepared_once() -> None:
    room = Room(queue_size=2)
    assert generate(room, NUMBERS) == NUMBERS
    assert room.num_refused > 0
    assert [p.text for p in room.prepared if isinstance(p, TextPrompt)] == NUMBERS


def test_a_queue_that_others_fill_is_an_error() -> None:
    async def main() -> None:
        model = AsyncLanguageModel(FakeAsyncTransport(Room(queue_size=1)))
        async with model.stream("of another"):
            with pytest.raises(QueueFullError):
                await model.generate(NUMBERS)

    asyncio.run(main())


@pytest.mark.parametrize("max_concurrent", [None, 2])
@pytest.mark.parametrize("wrong", ["refused", "failing"])
def test_an_error_of_one_prompt_cancels_the_others(wrong: str, max_concurrent: int | None) -> None:
    room = Room(max_concurrent=max_concurrent)
    with pytest.raises(InvalidRequestError, match=wrong):
        generate(room, ["a", wrong, *NUMBERS], deque([wrong]))
    assert not room.running


def test_cancelling_the_task_cancels_all_its_prompts() -> None:
    async def main() -> None:
        room = Room()
        model = AsyncLanguageModel(FakeAsyncTransport(room, deque(["nobody"])))
        task = asyncio.create_task(model.generate(NUMBERS))
        await until(lambda: len(room.running) == len(NUMBERS))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(room.cancelled) == NUMBERS

    asyncio.run(main())


def test_leaving_its_block_closes_the_transport() -> None:
    async def main() -> None:
        room = Room()
        async with AsyncLanguageModel(FakeAsyncTransport(room)) as model:
            assert room.num_closed == 0
            assert await model.generate([]) == []
            assert await model.generate_text("a") == "a"
            assert [piece.text async for piece in model.stream("b")] == ["b"]
        assert [request.stream for request in room.asked] == [False, True]
        assert room.num_closed == 1

    asyncio.run(main())
