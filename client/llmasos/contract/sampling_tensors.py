"""The tensors of the sampling parameters, made from their table."""

from __future__ import annotations

from dataclasses import replace

from llmasos.contract.tensor import DataType, Scalar, Support, Tensor
from llmasos.sampling_parameter import SamplingParameter
from llmasos.sampling_table import SAMPLING_TABLE

_CLASSIC = {row.ensemble_name: row for row in SAMPLING_TABLE if row.is_classic}
_CLASSIC_OF_ENGINE = {row.engine_name: row for row in SAMPLING_TABLE if row.is_classic}
_NEW = tuple(row for row in SAMPLING_TABLE if not row.is_classic and row.tensor is not None)


def classic_ensemble_input(
    name: str, data_type: DataType, *neutral: Scalar, target: str = ""
) -> Tensor:
    """An input of the classic ensemble that chooses tokens.

    It is supported if the table has it. Else it is accepted with neutral values alone.
    """
    row = _CLASSIC.get(name)
    if row is None:
        return Tensor(
            name=name,
            type=data_type,
            optional=True,
            support=Support.NEUTRAL_ONLY,
            neutral=neutral,
            model="engine",
            target=target or name,
        )
    assert DataType.of(row.tensor_type) is data_type, name
    return _ensemble_input(row, Support.CORE)


def classic_engine_input(name: str, data_type: DataType, *neutral: Scalar) -> Tensor:
    """As `classic_ensemble_input`, of the classic engine."""
    row = _CLASSIC_OF_ENGINE.get(name)
    if row is None:
        return Tensor(
            name=name,
            type=data_type,
            optional=True,
            scalar=True,
            support=Support.NEUTRAL_ONLY,
            neutral=neutral,
        )
    assert DataType.of(row.tensor_type) is data_type, name
    return _engine_input(row, Support.CORE)


def older_ensemble_inputs() -> tuple[Tensor, ...]:
    """The names that earlier releases of the classic ensemble had for its inputs."""
    return tuple(
        replace(_ensemble_input(row, Support.CORE), name=name, target=name)
        for row in SAMPLING_TABLE
        for name in row.older_names
    )


def older_engine_inputs() -> tuple[Tensor, ...]:
    """As `older_ensemble_inputs`, of the engine."""
    return tuple(
        replace(_engine_input(row, Support.CORE), name=name)
        for row in SAMPLING_TABLE
        for name in row.older_names
    )


def new_ensemble_inputs() -> tuple[Tensor, ...]:
    """Those of parameters that the classic contract does not have."""
    return tuple(_ensemble_input(row, Support.EXTRA) for row in _NEW)


def new_engine_inputs() -> tuple[Tensor, ...]:
    """As `new_ensemble_inputs`, of the engine."""
    return tuple(_engine_input(row, Support.EXTRA) for row in _NEW)


def _ensemble_input(row: SamplingParameter, support: Support) -> Tensor:
    assert row.ensemble_name is not None
    assert row.engine_name is not None
    return Tensor(
        name=row.ensemble_name,
        type=DataType.of(row.tensor_type),
        dims=(-1,) if row.is_list else (1,),
        optional=True,
        needed=row.name == "max_tokens",
        support=support,
        model="engine",
        target=row.engine_name,
    )


def _engine_input(row: SamplingParameter, support: Support) -> Tensor:
    assert row.engine_name is not None
    return Tensor(
        name=row.engine_name,
        type=DataType.of(row.tensor_type),
        dims=(-1,) if row.is_list else (1,),
        optional=True,
        needed=row.name == "max_tokens",
        scalar=not row.is_list,
        ragged=row.is_list,
        support=support,
    )
