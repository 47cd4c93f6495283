"""What users type of the sampling parameters agrees with their table."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest
from llmasos.contract import ENGINE_INPUTS, ENSEMBLE_INPUTS, Support
from llmasos.sampling import SAMPLING_FIELDS, SamplingFields, SamplingParams
from llmasos.sampling_table import PARAMETERS, SAMPLING_TABLE
from llmasos.triton.transport.base import request_fields

PLAIN = {"INT32": int, "UINT64": int, "FP32": float, "BOOL": bool, "STRING": str}


def typed(name: str) -> Any:
    """The type that SamplingParams must declare for a row of the table."""
    row = PARAMETERS[name]
    plain: Any = PLAIN[row.type]
    if row.is_mapping:
        return tuple[tuple[int, plain], ...]
    if row.is_list:
        return tuple[plain, ...]
    return plain | None if row.default is None else plain


def test_the_dataclass_has_the_fields_the_types_and_the_defaults_of_the_table() -> None:
    hints = get_type_hints(SamplingParams)
    fields = {f.name: (hints[f.name], f.default) for f in dataclasses.fields(SamplingParams)}
    del fields["open_fields"], fields["guide"]
    assert fields == {row.name: (typed(row.name), row.default) for row in SAMPLING_TABLE}
    assert list(fields) == [row.name for row in SAMPLING_TABLE], "in the table's order"


def test_the_typed_dict_has_the_fields_and_the_types_of_the_table() -> None:
    hints = get_type_hints(SamplingFields)
    assert hints.keys() == SAMPLING_FIELDS == PARAMETERS.keys() | {"guide"}
    del hints["guide"]
    assert not SamplingFields.__required_keys__
    for name, hint in hints.items():
        if not PARAMETERS[name].is_list and not PARAMETERS[name].is_mapping:
            assert hint == typed(name)


def test_the_docstring_of_sampling_params_explains_every_field() -> None:
    explained = str(SamplingParams.__doc__)
    assert not [row.name for row in SAMPLING_TABLE if f"\n    {row.name}: " not in explained]


def test_the_defaults_pass_the_checks_of_the_table() -> None:
    for row in SAMPLING_TABLE:
        assert row.checked(row.default) == row.default


@pytest.mark.parametrize(
    "row", [row for row in SAMPLING_TABLE if row.tensor is not None], ids=lambda row: row.name
)
def test_every_parameter_has_a_supported_tensor_in_both_models(row: Any) -> None:
    for name, tensors in ((row.ensemble_name, ENSEMBLE_INPUTS), (row.engine_name, ENGINE_INPUTS)):
        (tensor,) = (tensor for tensor in tensors if tensor.name == name)
        assert tensor.support is not Support.NEUTRAL_ONLY
        assert tensor.type.name == row.tensor_type
        assert (tensor.dims == (-1,)) == row.is_list


def test_a_default_is_sent_where_the_model_would_replace_it() -> None:
    """A caller who gives the neutral value of a recommended field must get it."""
    for row in SAMPLING_TABLE:
        if row.is_recommended and not row.is_list:
            params = SamplingParams.open_to_model(**{row.name: row.default})
            assert row.ensemble_name in request_fields({}, params=params, stream=False)
