"""The classic contract as one typed table, and the Triton repository that it declares."""

from llmasos.contract.engine import ENGINE_INPUTS, ENGINE_OUTPUTS
from llmasos.contract.ensemble import ENSEMBLE_INPUTS, ENSEMBLE_OUTPUTS
from llmasos.contract.repository import (
    MODELS,
    PLAN_IN_REPOSITORY,
    model_configs,
    models_of,
    write_repository_configs,
)
from llmasos.contract.settings import RepositorySettings
from llmasos.contract.tensor import DataType, Support, Tensor

__all__ = [
    "ENGINE_INPUTS",
    "ENGINE_OUTPUTS",
    "ENSEMBLE_INPUTS",
    "ENSEMBLE_OUTPUTS",
    "MODELS",
    "PLAN_IN_REPOSITORY",
    "DataType",
    "RepositorySettings",
    "Support",
    "Tensor",
    "model_configs",
    "models_of",
    "write_repository_configs",
]
