"""AsyncTritonClient against a fake server and a real one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_triton import PIECES, REFUSAL, FakeTriton, fake_grpc
from llmasos import AsyncTritonClient, FinishReason, SamplingParams, TritonClient, Usage
from llmasos.errors import EngineStoppedError, InvalidRequestError, RequestTimeoutError
from llmasos.triton.transport.base import STOP_TIMEOUT_S
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from patience import PATIENCE_S, until

TEXT = "".join(PIECES)
Act = Callable[[AsyncTritonClient, FakeTriton], Awaitable[None]]


def run(act: Act, *, timeout_s: float | None = None) -> None:
    """Let a coroutine act on a client of a fake server."""

    async def main(fake: FakeTriton) -> None:
        async with AsyncTritonClient(fake.url, timeout_s=timeout_s) as client:
            await act(client, fake)

    with fake_grpc() as fake:
        asyncio.run(main(fake))


def test_the_methods_are_those_of_the_client_that_waits() -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        assert await client.is_ready()
        assert await client.generate_text("hello", max_tokens=7) == TEXT
        pieces = [piece async for piece in client.stream("hello")]
        assert tuple(piece.text for piece in pieces) == PIECES
        assert [piece.finish_reason for piece in pieces] == [None, None, FinishReason.STOP]
        used = Usage(num_prompt_tokens=2, num_output_tokens=3, num_cached_tokens=1)
        assert pieces[-1].usage == used
        assert (await client.chat([{"role": "user", "content": "Hi"}])).text == TEXT
        async for _ in client.stream_chat([{"role": "user", "content": "Hi"}]):
            pass
        await client.generate(["<s>a"], add_special_tokens=False)
        await client.generate_text("<s>a", add_special_tokens=False)
        await client.stream("<s>a", add_special_tokens=False).read()
        assert [r["add_special_tokens"] for r in fake.asked()[-3:]] == [False] * 3
        await client.chat([{"role": "user", "content": "Hi"}])
        await client.chat([{"role": "user", "content": "Hi"}], tools=[{"name": "f"}])
        assert fake.asked()[0]["max_tokens"] == 7
        assert [request.get("tools") for request in fake.asked()[-2:]] == [None, '[{"name": "f"}]']
        assert fake.stops() == []

    run(act)


def test_many_prompts_are_answered_in_order() -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        prompts = [f"prompt {index}" for index in range(70)]
        answers = await client.generate(prompts, max_tokens=5)
        assert [answer.text for answer in answers] == [TEXT] * 70
        assert sorted(r["text_input"] for r in fake.asked()) == sorted(prompts)
        assert {r["max_tokens"] for r in fake.asked()} == {5}

    run(act)


def test_a_refusal_is_our_error_and_takes_the_other_prompts_along() -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            await client.generate_text("refuse")
        assert str(caught.value) == REFUSAL
        with pytest.raises(InvalidRequestError):
            await client.generate(["hello", "refuse"])

    run(act)


def test_a_broken_connection_and_a_late_answer_are_errors() -> None:
    async def read_broken(client: AsyncTritonClient, fake: FakeTriton) -> None:
        with pytest.raises(EngineStoppedError):
            await client.stream("break").read()

    async def read_late(client: AsyncTritonClient, fake: FakeTriton) -> None:
        with pytest.raises(RequestTimeoutError):
            await client.stream("hang").read()

    run(read_broken)
    run(read_late, timeout_s=0.5)


@pytest.mark.parametrize("how", ["task", "break", "dropped"])
def test_leaving_an_answer_stops_it_in_the_engine(how: str) -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        stream = client.stream("hang")
        await anext(aiter(stream))
        if how == "task":
            task = asyncio.create_task(stream.read())
            await asyncio.sleep(0.05)
            task.cancel()
            fake.released.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "break":
            fake.released.set()
            await stream.aclose()
        else:
            fake.released.set()
            del stream
        await until(fake.stops)
        assert fake.stops() == [fake.asked()[0]["id"]]

    run(act)


def test_a_stopped_answer_that_goes_on_is_left_in_time() -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        stream = client.stream("drip")
        await anext(aiter(stream))
        started = time.monotonic()
        await asyncio.wait_for(stream.aclose(), PATIENCE_S)
        assert time.monotonic() - started >= STOP_TIMEOUT_S

    run(act)


@pytest.mark.parametrize("prompt", ["hang", "drip"])
def test_a_stream_can_be_closed_while_another_task_reads_it(prompt: str) -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        stream = client.stream(prompt)
        await anext(aiter(stream))
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0.1)
        await stream.aclose()
        with pytest.raises(EngineStoppedError):
            await asyncio.wait_for(reading, PATIENCE_S)
        await until(fake.stops)
        assert fake.stops() == [fake.asked()[0]["id"]]

    run(act)


def test_a_closed_client_says_so_and_ends_what_is_read() -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        stream = client.stream("hang")
        await anext(aiter(stream))
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0.05)
        await client.aclose()
        with pytest.raises(EngineStoppedError):
            await reading
        await until(fake.stops)
        assert fake.stops() == [fake.asked()[0]["id"]]
        assert not await client.is_ready()
        with pytest.raises(EngineStoppedError, match=r"^the client is closed$"):
            await client.generate_text("hello")

    run(act)


@pytest.mark.parametrize("prompt", [b"Hi", None, "\ud800"])
def test_a_prompt_that_cannot_be_sent_is_refused_by_name(prompt: Any) -> None:
    async def act(client: AsyncTritonClient, fake: FakeTriton) -> None:
        with pytest.raises(InvalidRequestError, match=r"^prompt (must be a str|is not valid)"):
            await client.generate_text(prompt)
        with pytest.raises(InvalidRequestError, match=r"^prompt (must be a str|is not valid)"):
            client.stream(prompt)
        with pytest.raises(InvalidRequestError, match=r"^prompts\[1\]"):
            await client.generate(["hello", prompt])
        with pytest.raises(InvalidRequestError, match="list of str, got str"):
            await client.generate("Hey")
        with pytest.raises(InvalidRequestError, match=r"^messages"):
            await client.chat(prompt)
        with pytest.raises(InvalidRequestError, match=r"^messages\[0\]"):
            client.stream_chat([{"role": "user", "content": prompt}])
        assert fake.asked() == []

    run(act)


def test_a_timeout_that_is_no_time_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequestError, match="timeout_s"):
        AsyncTritonClient("localhost:8001", timeout_s=0)


def test_a_url_of_another_protocol_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="speaks gRPC"):
        AsyncTritonClient("http://localhost:8000")


@pytest.mark.server
def test_a_real_server_answers_both_clients_alike(tiny_repository: Path) -> None:
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)

    async def ask(url: str) -> tuple[list[str], str]:
        async with AsyncTritonClient(url, timeout_s=30) as client:
            answers = await client.generate(["a", "b"], SamplingParams(max_tokens=9))
            text = "".join([piece.text async for piece in client.stream("a", max_tokens=9)])
            async for _ in client.stream("a", max_tokens=400, ignore_eos=True):
                break
        return [answer.text for answer in answers], text

    with TritonServer(tiny_repository, options) as server:
        with TritonClient(server.grpc_url) as client:
            expected = [client.generate_text(prompt, max_tokens=9) for prompt in "ab"]
        assert asyncio.run(ask(server.grpc_url)) == (expected, expected[0])
        server.stop(drain=False)
