"""How far a student's hidden states are from its teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmasos.errors import InvalidRequestError

from llmasos_builder.distillation.libraries import load_torch


def check_hidden_sizes(teacher: Any, student: Any) -> None:
    """Raises InvalidRequestError unless hidden states can be compared."""
    ours, theirs = student.config.hidden_size, teacher.config.hidden_size
    if ours != theirs:
        raise InvalidRequestError(
            f"hidden-weight compares hidden states of one width: the student's is {ours}, the "
            f"teacher's {theirs}"
        )


def hidden_distance(teacher: Any, rows: Any, states: Sequence[Any]) -> Any:
    """Returns the mean squared distance, relative to the mean square of the teacher's states.

    rows: token ids [B, S]. states: the student's [B, S, H], the embeddings first. Layer i of n is
    compared with the teacher's layer i·m/n of m.
    """
    torch = load_torch()
    with torch.inference_mode():
        theirs = teacher(input_ids=rows, output_hidden_states=True).hidden_states
    last, other_last = len(states) - 1, len(theirs) - 1
    total: Any = 0.0
    for index in range(1, last + 1):
        wanted = theirs[round(index * other_last / last)].clone()
        total = total + (states[index].float() - wanted).pow(2).mean() / wanted.pow(2).mean()
    return total / last
