"""The contract as Markdown tables, for docs/contract.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmasos.contract.encoder import ENCODER_INPUTS, ENCODER_OUTPUTS
from llmasos.contract.engine import ENGINE_INPUTS, ENGINE_OUTPUTS
from llmasos.contract.ensemble import ENSEMBLE_INPUTS, ENSEMBLE_OUTPUTS
from llmasos.contract.tensor import Support, Tensor

BEGIN = "<!-- contract tables: begin -->"
END = "<!-- contract tables: end -->"
_TABLES = {
    "Inputs of `ensemble`": ENSEMBLE_INPUTS,
    "Outputs of `ensemble`": ENSEMBLE_OUTPUTS,
    "Inputs of `engine`": ENGINE_INPUTS,
    "Outputs of `engine`": ENGINE_OUTPUTS,
    "Inputs of `engine` and `ensemble` of an embedder": ENCODER_INPUTS["embed"],
    "Outputs of `engine` and `ensemble` of an embedder": ENCODER_OUTPUTS["embed"],
    "Inputs of `engine` and `ensemble` of a classifier or cross-encoder": ENCODER_INPUTS[
        "classify"
    ],
    "Outputs of `engine` and `ensemble` of a classifier or cross-encoder": ENCODER_OUTPUTS[
        "classify"
    ],
    "Inputs of `engine` and `ensemble` of a token classifier": ENCODER_INPUTS["classify_tokens"],
    "Outputs of `engine` and `ensemble` of a token classifier": ENCODER_OUTPUTS["classify_tokens"],
    "Inputs of `engine` and `ensemble` of a masked language model": ENCODER_INPUTS["fill_mask"],
    "Outputs of `engine` and `ensemble` of a masked language model": ENCODER_OUTPUTS["fill_mask"],
}


def markdown_tables() -> str:
    """A section for the inputs and the outputs of each model that clients call."""
    return "\n\n".join(
        f"## {title}\n\n{_table(tensors, is_input=title.startswith('Inputs'))}"
        for title, tensors in _TABLES.items()
    )


def write_tables(page: Path) -> None:
    """Put the tables between the markers of a page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    text = f"{before}{BEGIN}\n{markdown_tables()}\n{END}{after}"
    page.write_text(text, encoding="utf-8")


def _table(tensors: Iterable[Tensor], *, is_input: bool) -> str:
    rows = (_row(t, is_input=is_input) for t in tensors if t.support is not Support.INTERNAL)
    return "\n".join(["| tensor | type | shape | |", "|---|---|---|---|", *rows])


def _row(tensor: Tensor, *, is_input: bool) -> str:
    shape = ", ".join("any" if dim < 0 else str(dim) for dim in tensor.dims)
    kind = tensor.type.value.removeprefix("TYPE_")
    remark = _accepted(tensor) if is_input else _made(tensor)
    return f"| `{tensor.name}` | {kind} | [{shape}] | {remark} |"


def _accepted(tensor: Tensor) -> str:
    if tensor.support is Support.NEUTRAL_ONLY:
        values = " or ".join(f"`{str(v).lower() or '(empty)'}`" for v in tensor.neutral)
        return f"not supported yet; accepted: {values or 'empty'}"
    needed = "optional" if tensor.optional and not tensor.needed else "required"
    return f"{needed}, new" if tensor.support is Support.EXTRA else needed


def _made(tensor: Tensor) -> str:
    if tensor.support is Support.NEUTRAL_ONLY:
        return "zeros or nothing, not made yet"
    return "new" if tensor.support is Support.EXTRA else ""
