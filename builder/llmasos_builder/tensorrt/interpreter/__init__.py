"""The reference for TensorRT's networks: an interpreter in numpy, which needs no GPU."""

from __future__ import annotations

from llmasos_builder.tensorrt.interpreter.engine import InterpretedNetwork as InterpretedNetwork
from llmasos_builder.tensorrt.interpreter.engine import Row as Row
from llmasos_builder.tensorrt.interpreter.errors import InterpretationError as InterpretationError
from llmasos_builder.tensorrt.interpreter.interpreter import Interpreter as Interpreter
from llmasos_builder.tensorrt.interpreter.interpreter import interpret as interpret
from llmasos_builder.tensorrt.interpreter.ranks import InterpretedRanks as InterpretedRanks

__all__ = [
    "InterpretationError",
    "InterpretedNetwork",
    "InterpretedRanks",
    "Interpreter",
    "Row",
    "interpret",
]
