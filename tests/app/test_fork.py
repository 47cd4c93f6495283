"""What was made before a fork says so in the child, never hangs there, and goes on in the parent.

Each test forks a process of its own, not that of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fake_triton import PIECES, fake_grpc, fake_http

PRELUDE = """
import asyncio, os, sys, traceback
from llmasos import LLM, AsyncLLM, AsyncTritonClient, TritonClient
from llmasos.errors import ForkedProcessError

def in_child(work):
    '''Run it in a child, which ends as a program does; what it raised is printed.'''
    sys.stdout.flush()
    if os.fork() == 0:
        work()
        sys.exit(0)
    _, status = os.wait()
    print("the child's status is", status, flush=True)

def refused(work):
    try:
        work()
    except ForkedProcessError as error:
        print(error, flush=True)
    else:
        print("it was not refused", flush=True)
"""
LLM_IN_CHILD = """
llm = LLM(sys.argv[1], num_threads=1)
before = llm.generate_text("a", max_tokens=3)
stream = llm.stream("a", max_tokens=200, ignore_eos=True)
next(stream)

def child():
    message = [{"role": "user", "content": "a"}]
    refused(lambda: llm.generate_text("a", max_tokens=3, deadline_ms=2000))
    refused(lambda: llm.generate(["a", "b"], max_tokens=3))
    refused(lambda: llm.stream("a"))
    refused(lambda: llm.chat(message))
    refused(lambda: llm.stream_chat(message))
    refused(lambda: next(stream))
    refused(stream.read)
    stream.close()
    llm.close()
    llm.close()

in_child(child)
print(stream.read().usage.num_output_tokens)
print(llm.generate_text("a", max_tokens=3) == before)
llm.close()
"""
ASYNC_LLM_IN_CHILD = """
async def load():
    llm = await AsyncLLM.load(sys.argv[1], num_threads=1)
    return llm, await llm.generate_text("a", max_tokens=3)

llm, before = asyncio.run(load())

def child():
    refused(lambda: asyncio.run(llm.generate_text("a", max_tokens=3)))
    asyncio.run(llm.aclose())

in_child(child)
print(asyncio.run(llm.generate_text("a", max_tokens=3)) == before)
asyncio.run(llm.aclose())
"""
LOADED_IN_CHILD = """
def load():
    with LLM(sys.argv[1], num_threads=1) as llm:
        print(len(llm.generate(["a"], max_tokens=3, ignore_eos=True)[0].token_ids), flush=True)

load()
in_child(load)
"""
HELD_BY_CHILD = """
from llmasos.engine.plan_lock import exclusive
from llmasos_app.cache.engine_cache import find_built
plan_dir = find_built(sys.argv[1])
llm = LLM(sys.argv[1], num_threads=1)
ask, asked = os.pipe()
child = os.fork()
if child == 0:
    os.close(asked)
    os.read(ask, 1)
    os._exit(0)
llm.close()
with exclusive(plan_dir):
    print("nobody holds the plan")
os.close(asked)
os.wait()
"""
GRPC_IN_CHILD = """
client = TritonClient(sys.argv[1], timeout_s=20)
stream = client.stream("hello")
next(stream)

def child():
    refused(lambda: client.generate_text("hello"))
    refused(client.is_ready)
    refused(lambda: next(stream))
    client.close()
    with TritonClient(sys.argv[1], timeout_s=20) as own:
        print(own.generate_text("hello"), flush=True)
    os._exit(0)

in_child(child)
print(client.generate_text("hello"))
client.close()
"""
HTTP_IN_CHILD = """
client = TritonClient(sys.argv[1], timeout_s=20)
stream = client.stream("hello")
next(stream)

def child():
    refused(lambda: next(stream))
    print(client.generate_text("hello"), flush=True)
    dropped = client.stream("hello")
    next(dropped)
    del dropped
    client.close()

in_child(child)
print(client.generate_text("hello"))
client.close()
"""
ASYNC_GRPC_IN_CHILD = """
async def run():
    client = AsyncTritonClient(sys.argv[1], timeout_s=20)
    print(await client.generate_text("hello"), flush=True)
    if os.fork() == 0:
        for work in (client.is_ready, lambda: client.generate_text("hello")):
            try:
                await work()
            except ForkedProcessError as error:
                print(error, flush=True)
        await client.aclose()
        os._exit(0)
    _, status = os.wait()
    print("the child's status is", status)
    print(await client.generate_text("hello"))
    await client.aclose()

asyncio.run(run())
"""
SCORED_IN_CHILD = """
from pathlib import Path
from llmasos_app.cache.engine_cache import find_built
from llmasos_runtime.evaluation.forward import Part, load_forward
forward = load_forward(find_built(sys.argv[1]), slot_tokens=32, num_threads=1)
part = Part(slot=0, past=0, token_ids=(1, 2, 3), wanted=0)
forward.run([part])
in_child(lambda: refused(lambda: forward.run([part])))
print(len(forward.run([part])))
"""
REFUSED = "was made in process"
GRPC_CRASHED = [f"the child's status is {status}" for status in (6, 11, 134, 139)]  # ABRT, SEGV


def run(script: str, argument: object, *, timeout_s: float = 120) -> list[str]:
    """What it printed; nothing else may have been said."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + script, str(argument)],
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},  # gRPC tells of each fork
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_an_engine_is_refused_in_a_forked_process_and_goes_on_in_its_own(
    tiny_repository: Path,
) -> None:
    *refusals, status, num_tokens, same = run(LLM_IN_CHILD, tiny_repository)
    assert len(refusals) == 7
    for refusal in refusals:
        assert REFUSED in refusal
        assert "make it after the fork" in refusal
    assert (status, num_tokens, same) == ("the child's status is 0", "200", "True")


def test_an_engine_for_asyncio_is_refused_in_a_forked_process(tiny_repository: Path) -> None:
    refusal, status, same = run(ASYNC_LLM_IN_CHILD, tiny_repository)
    assert REFUSED in refusal
    assert (status, same) == ("the child's status is 0", "True")


def test_an_engine_for_scores_is_refused_in_a_forked_process(tiny_repository: Path) -> None:
    refusal, status, count = run(SCORED_IN_CHILD, tiny_repository)
    assert REFUSED in refusal
    assert (status, count) == ("the child's status is 0", "1")


def test_an_engine_may_be_loaded_after_the_fork(tiny_repository: Path) -> None:
    assert run(LOADED_IN_CHILD, tiny_repository) == ["3", "3", "the child's status is 0"]


def test_a_forked_process_does_not_hold_the_plan_of_its_parent(
    tiny_repository: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(tiny_repository, tmp_path / "own")  # no other test holds it
    assert run(HELD_BY_CHILD, own) == ["nobody holds the plan"]


def test_a_grpc_connection_is_refused_in_a_forked_process_and_a_new_one_works() -> None:
    """gRPC's own threads sometimes crash or hang a forked process, whatever it does: such a run
    says nothing about the client, and another is made.
    """
    for last in (False,) * 5 + (True,):
        with fake_grpc() as fake:
            try:
                *refusals, own, status, after = run(GRPC_IN_CHILD, fake.url, timeout_s=30)
            except (subprocess.TimeoutExpired, AssertionError):
                if last:
                    raise
            else:
                if status not in GRPC_CRASHED:
                    break
    assert [REFUSED in refusal for refusal in refusals] == [True] * 3
    assert own == after == "".join(PIECES)
    assert status == "the child's status is 0"


def test_an_http_client_works_in_a_forked_process() -> None:
    with fake_http() as fake:
        refusal, own, status, after = run(HTTP_IN_CHILD, fake.url)
    assert REFUSED in refusal
    assert own == after == "".join(PIECES)
    assert status == "the child's status is 0"


def test_a_grpc_connection_for_asyncio_is_refused_in_a_forked_process() -> None:
    with fake_grpc() as fake:
        before, *refusals, status, after = run(ASYNC_GRPC_IN_CHILD, fake.url)
    assert [REFUSED in refusal for refusal in refusals] == [True] * 2
    assert before == after == "".join(PIECES)
    assert status == "the child's status is 0"
