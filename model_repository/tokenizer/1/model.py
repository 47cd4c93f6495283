"""Triton model: text becomes token ids."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils
from llmasos.engine.plan import EnginePlan
from llmasos.text.source_texts import sources_of
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_runtime.triton.orphan import end_with_server
from llmasos_runtime.triton.tokenizer_model import TokenizerModel


class TritonPythonModel:
    """The name that Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        end_with_server()
        directory = ModelArguments.of(args).path("tokenizer_dir")
        plan, tokenizer = EnginePlan.read(directory), Tokenizer.load(directory)
        self._model = TokenizerModel(
            pb_utils,
            tokenizer,
            max_seq_len=plan.limits.max_seq_len,
            sources=sources_of(tokenizer, plan),
        )

    def execute(self, requests: list[Any]) -> list[None]:
        return self._model.execute(requests)

    def finalize(self) -> None:
        self._model.close()
