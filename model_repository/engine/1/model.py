"""Triton model: token ids are continued by the engine, or whole texts encoded, as the plan is."""

from __future__ import annotations

import os
from typing import Any

import triton_python_backend_utils as pb_utils
from llmasos.engine.plan import EnginePlan
from llmasos_runtime.encoding.load import load_text_engine
from llmasos_runtime.load import load_engine
from llmasos_runtime.triton.abandoned_streams import Detokenizer
from llmasos_runtime.triton.encoding_model import EncodingModel
from llmasos_runtime.triton.engine_model import EngineModel
from llmasos_runtime.triton.engine_options import engine_options
from llmasos_runtime.triton.forwarding.address import engine_address
from llmasos_runtime.triton.forwarding.listener import Listener
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_runtime.triton.orphan import end_with_server


class TritonPythonModel:
    """The name that Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        end_with_server()
        arguments = ModelArguments.of(args).overridden(os.environ)
        self._listener: Listener | None = None
        self._model: EngineModel | EncodingModel
        if EnginePlan.read(arguments.path("gpt_model_path")).task == "generate":
            self._model = _generating(arguments)
            self._listener = Listener(
                engine_address(arguments.directory.parents[1], arguments.model),
                self._model.accept_forwarded,
                self._model.end_forwarded,
            )
        else:
            self._model = EncodingModel(
                pb_utils,
                load_text_engine(arguments.path("gpt_model_path"), engine_options(arguments)),
                check_period_s=_check_period_s(arguments),
                die=_die,
                served=arguments.served,
            )

    def execute(self, requests: list[Any]) -> list[None] | None:
        return self._model.execute(requests)

    def finalize(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._model.close()


def _generating(arguments: ModelArguments) -> EngineModel:
    return EngineModel(
        pb_utils,
        load_engine(arguments.path("gpt_model_path"), engine_options(arguments)),
        check_period_s=_check_period_s(arguments),
        default_deadline_ms=arguments.integer("default_deadline_ms") or 600_000,
        stream_interval=arguments.integer("stream_interval"),
        num_restarts=arguments.integer("num_restarts") or 0,
        served=arguments.served,
        count_pieces=Detokenizer(pb_utils, arguments.sibling("detokenizer")).count,
        die=_die,
    )


def _check_period_s(arguments: ModelArguments) -> float:
    return (arguments.integer("cancellation_check_period_ms") or 200) / 1e3


def _die() -> None:
    os._exit(1)
