"""The token with which an answer as long as it may be ends: forced_eos_token_id."""

from __future__ import annotations

from llmasos_runtime.sequences.request import Request


def forced_last(request: Request, *, max_len: int) -> tuple[int, int] | None:
    """Returns the place of that token in a sequence of max_len tokens, and the token; None if there
    is none.
    """
    if request.forced_eos_token_id is None or request.params.ignore_eos:
        return None
    return max_len - 1, request.forced_eos_token_id
