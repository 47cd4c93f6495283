"""Every class of error, with hostile text, through a real server: gRPC and HTTP, streams too.

The engine of this server is a fake that raises what the prompt says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmasos import TritonClient
from llmasos.error_codes import error_classes
from llmasos.errors import LLMasOSError
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

RAISING_MODEL = """
import json
import os

import triton_python_backend_utils as pb_utils
from llmasos.engine.plan import EnginePlan
from llmasos.error_codes import error_classes
from llmasos.outputs import FinishReason, Usage
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.sequences.request import Update
from llmasos_runtime.triton.engine_model import EngineModel
from llmasos_runtime.triton.model_arguments import ModelArguments


class RaisingEngine:
    block_size = 16

    def __init__(self, directory):
        self.plan, self.tokenizer = EnginePlan.read(directory), Tokenizer.load(directory)

    def submit(self, request, sink):
        prompt = self.tokenizer.decode(request.prompt_token_ids)
        usage = Usage(num_prompt_tokens=1, num_output_tokens=1)
        if not prompt.startswith("{"):  # the server's own canary
            ids = self.tokenizer.encode("a")
            end = Update(
                request_id=request.request_id, token_ids=tuple(ids), text="a", text_span=(0, 1),
                finish_reason=FinishReason.LENGTH, usage=usage,
            )
            sink(end)
            return
        wanted = json.loads(prompt)
        error = error_classes()[wanted["code"]](wanted["message"])
        if wanted["at_once"]:
            raise error
        ids, key = tuple(self.tokenizer.encode("a")), request.request_id
        sink(Update(request_id=key, token_ids=ids, text="a", text_span=(0, 1)))
        sink(Update(request_id=key, error=error))

    def cancel(self, request_id):
        return False

    def stats(self):
        return EngineStats(
            num_running=0, num_waiting=0, num_blocks=1, num_free_blocks=1, num_reused_blocks=0,
            num_preemptions=0, num_steps=1,
        )

    def close(self):
        pass


class TritonPythonModel:
    def initialize(self, args):
        arguments = ModelArguments.of(args).overridden(os.environ)
        engine = RaisingEngine(arguments.path("gpt_model_path"))
        self.model = EngineModel(
            pb_utils, engine, check_period_s=0.2, default_deadline_ms=60000, die=lambda: None
        )

    def execute(self, requests):
        self.model.execute(requests)

    def finalize(self):
        self.model.close()
"""
CODES = sorted(error_classes())
WORDS = (
    "the engine has stopped",
    "[queue_full] 9 requests are already waiting, at most 9 may",
    "in ensemble 'ensemble', [engine_stopped] gone",
    "bad_words is not supported yet: got 'the engine has stopped'",
    "deadline_ms of 5 passed before the answer was whole",
    "Stub process 'engine_0_0' is not healthy",
    'data: {"error": "[invalid_plan] x"}\r\n\r\n',
    "\u2028 ☃ \\ \" ' \x00 {}",
)
TEXTS = st.one_of(
    st.sampled_from(WORDS), st.text(max_size=40).filter(lambda text: "<|" not in text)
)


@pytest.fixture(scope="module")
def server(
    tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("raising") / "repository"
    shutil.copytree(tiny_repository, repository)
    (repository / "engine" / "1" / "model.py").write_text(RAISING_MODEL)
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=600)
    with TritonServer(repository, options) as server:
        yield server


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[TritonClient]:
    url = server.grpc_url if request.param == "grpc" else server.http_url
    with TritonClient(url, timeout_s=30) as client:
        yield client


def raised(
    client: TritonClient, code: str, message: str, *, stream: bool, at_once: bool
) -> LLMasOSError:
    prompt = json.dumps({"code": code, "message": message, "at_once": at_once})
    with pytest.raises(LLMasOSError) as caught:
        if stream:
            list(client.stream(prompt, max_tokens=4))
        else:
            client.generate_text(prompt, max_tokens=4)
    return caught.value


@pytest.mark.parametrize("code", CODES)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(message=TEXTS, stream=st.booleans(), at_once=st.booleans())
def test_an_error_keeps_its_class_and_its_words(
    client: TritonClient, code: str, message: str, stream: bool, at_once: bool
) -> None:
    kind = error_classes()[code]
    error = raised(client, code, message, stream=stream, at_once=at_once)
    assert type(error) is kind
    assert str(error) == str(kind(message))
    assert error.retryable == kind.retryable
