"""Triton model: text becomes the classic tensors of token ids."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_runtime.triton.orphan import end_with_server
from llmasos_runtime.triton.preprocessing_model import (
    PreprocessingModel,
    TokenizerModel,
    plan_facts,
)


class TritonPythonModel:
    """The name that Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        end_with_server()
        arguments = ModelArguments.of(args)
        vocab_size, end_id = plan_facts(arguments.path("tokenizer_dir"))
        self._model = PreprocessingModel(
            pb_utils,
            TokenizerModel(pb_utils),
            vocab_size=vocab_size,
            end_id=end_id,
            adds_special_tokens=arguments.boolean("add_special_tokens") is not False,
        )

    def execute(self, requests: list[Any]) -> list[object]:
        return self._model.execute(requests)
