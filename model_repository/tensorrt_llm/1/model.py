"""Triton model: token ids are continued, as the classic model of this name does."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils
from llmasos.contract.classic_models import CLASSIC_TOKEN_INPUTS, CLASSIC_TOKEN_OUTPUTS
from llmasos_runtime.triton.classic_model import ClassicModel
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_runtime.triton.orphan import end_with_server


class TritonPythonModel:
    """The name that Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        end_with_server()
        self._model = ClassicModel.of(
            pb_utils,
            ModelArguments.of(args),
            inputs=CLASSIC_TOKEN_INPUTS,
            outputs=CLASSIC_TOKEN_OUTPUTS,
        )

    def execute(self, requests: list[Any]) -> list[None] | None:
        return self._model.execute(requests)

    def finalize(self) -> None:
        self._model.close()
