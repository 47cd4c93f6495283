"""Triton model: token ids become text."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.triton.detokenizer_model import DetokenizerModel
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_runtime.triton.orphan import end_with_server


class TritonPythonModel:
    """The name that Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        end_with_server()
        arguments = ModelArguments.of(args)
        self._model = DetokenizerModel(
            pb_utils,
            Tokenizer.load(arguments.path("tokenizer_dir")),
            is_alone=arguments.num_instances == 1,
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._model.execute(requests)
