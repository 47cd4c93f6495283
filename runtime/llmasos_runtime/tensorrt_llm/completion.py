"""The tokens that an output of TensorRT-LLM adds to a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmasos.errors import LLMasOSError

from llmasos_runtime.sequences.sequence import Sequence


def next_tokens(output: Any, sequence: Sequence) -> Iterator[int]:
    """Yields tokens of the output that the sequence does not have; an end token comes last.

    output: a `RequestOutput` of tensorrt_llm, whose first completion has all tokens so far.
    sequence: the caller appends each token to it, and stops when that finishes the sequence.
    Raises LLMasOSError if TensorRT-LLM gave up the request.
    """
    completion = output.outputs[0]
    token_ids = list(completion.token_ids)
    while sequence.num_output_tokens < len(token_ids):
        yield int(token_ids[sequence.num_output_tokens])
    reason = completion.finish_reason
    if reason == "stop":
        yield _end_token(completion, sequence)
    elif reason not in (None, "length"):  # the length that it counts to is ours
        raise LLMasOSError(f"TensorRT-LLM ended the answer: {reason}")


def _end_token(completion: Any, sequence: Sequence) -> int:
    """The token that ended a text and was left out of its tokens."""
    if completion.stop_reason in sequence.end_token_ids:
        return int(completion.stop_reason)
    if len(sequence.end_token_ids) == 1:
        return min(sequence.end_token_ids)
    raise LLMasOSError(
        f"TensorRT-LLM ended the answer by {completion.stop_reason!r}, which ends no text here"
    )
