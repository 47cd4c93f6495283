"""The limits of an engine, from what was asked for and what the network was trained for."""

from __future__ import annotations

from llmasos.engine.plan import Limits
from llmasos.errors import InvalidRequestError

from llmasos_builder.options import BuildOptions

DEFAULT_MAX_SEQ_LEN = 8192


def limits_of(options: BuildOptions, *, trained_for: int, usual: int | None = None) -> Limits:
    """Returns an engine's limits. trained_for: longest sequence; usual: longest default.

    Raises InvalidRequestError.
    """
    max_seq_len = options.max_seq_len or min(usual or trained_for, DEFAULT_MAX_SEQ_LEN)
    if max_seq_len > trained_for:
        raise InvalidRequestError(
            f"max_seq_len must be at most {trained_for}, what the model was trained for, "
            f"got {max_seq_len}"
        )
    return Limits(
        max_batch_size=options.max_batch_size,
        max_num_tokens=options.max_num_tokens,
        max_seq_len=max_seq_len,
    )
