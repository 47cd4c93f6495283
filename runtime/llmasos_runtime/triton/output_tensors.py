"""Makes the output tensors of the engine's responses.

Triton's ensemble sends a response only when every output that it maps has come, and a client
that lists no outputs asks for all of them. So a response to a request with token ids carries all
requested outputs; the empty ones are made once and sent again. A response to a request with text,
which no ensemble sends, carries those that hold something.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from llmasos.contract.engine import ENGINE_OUTPUTS
from llmasos.outputs import TokenLogprob, Usage
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.sequences.request import Timings, Update
from llmasos_runtime.triton.backend import Backend
from llmasos_runtime.triton.no_value import no_value

_LOG_PROBS = "output_log_probs"


class OutputTensors:
    """Makes output tensors, and keeps those that are the same in every response."""

    def __init__(self, backend: Backend, *, block_size: int, has_empty: bool = True) -> None:
        """block_size: tokens of one block of the engine's KV cache.

        has_empty: a response carries the requested outputs that hold nothing too.
        """
        self._backend = backend
        self._block_size = block_size
        self._has_empty = has_empty
        self._nothing = {t.name: backend.Tensor(t.name, no_value(t)) for t in ENGINE_OUTPUTS}

    def of(self, update: Update, requested: Collection[str]) -> list[object]:
        """Returns the requested outputs of an update; only the last has usage and reasons."""
        values = _values(update, self._block_size)
        if (
            self._has_empty and _LOG_PROBS in requested and _LOG_PROBS not in values
        ):  # as many zeros as tokens: some clients read them unasked
            values[_LOG_PROBS] = np.zeros((1, 1, len(update.token_ids)), np.float32)
        return [
            self._backend.Tensor(name, values[name]) if name in values else self._nothing[name]
            for name in requested
            if self._has_empty or name in values
        ]

    def nothing(self, requested: Collection[str]) -> object:
        """Returns a response whose outputs hold nothing."""
        tensors = [self._nothing[name] for name in requested]
        return self._backend.InferenceResponse(output_tensors=tensors)


def _values(update: Update, block_size: int) -> dict[str, NDArray[Any]]:
    """The values of an update; only the last has usage and reasons. Its id is the stream's
    number.
    """
    values: dict[str, NDArray[Any]] = {
        "output_ids": _ints([update.token_ids]),
        "sequence_length": _ints(len(update.token_ids)),
        # The classic shape: one text for each row, and no dimension behind that. A lone surrogate
        # cannot be UTF-8; a decoder that makes one has nothing better to say.
        "text_output": np.array([update.text.encode("utf-8", "replace")], np.object_),
        "text_piece": _ints(
            (int(update.request_id), *update.text_span, *update.context_ids, *update.token_ids)
        ),
    }
    if update.index is not None:
        values["sequence_index"] = _ints(update.index)
    if update.cumulative_logprob is not None:
        values.update(_log_probs(update))
    if update.logits:
        values["generation_logits"] = np.stack(update.logits)[None, None]
    if update.usage is not None:
        values["num_input_tokens"] = _ints(update.usage.num_prompt_tokens)
        values["num_output_tokens"] = _ints(update.usage.num_output_tokens)
        values.update(_drafts(update.usage))
        # A block counts as reused also where, as a whole slot, it is so in part.
        num_reused = blocks_for(update.usage.num_cached_tokens, block_size)
        values["kv_cache_reused_blocks"] = _ints(num_reused)
        if update.timings is not None:
            values.update(_perf_metrics(update.timings, update.usage, block_size))
    if update.finish_reason is not None:
        values["finish_reason"] = np.array([[update.finish_reason.value.encode()]], np.object_)
        values["ending"] = np.array([[_ending(update)]], np.object_)
    if update.stop_reason is not None:
        values["stop_reason"] = np.array([[update.stop_reason.encode()]], np.object_)
    return values


def _ending(update: Update) -> bytes:
    assert update.finish_reason is not None
    assert update.usage is not None
    ending = {
        "finish_reason": update.finish_reason.value,
        "stop_reason": update.stop_reason,
        "usage": asdict(update.usage),
        "num_unfinished": update.num_unfinished,
    }
    return json.dumps(ending).encode()


def _perf_metrics(timings: Timings, usage: Usage, block_size: int) -> dict[str, NDArray[Any]]:
    """The classic timings, and the blocks of the answer; those that it reused are not new."""
    num_blocks = blocks_for(usage.num_prompt_tokens + usage.num_output_tokens - 1, block_size)
    num_reused = blocks_for(usage.num_cached_tokens, block_size)
    times = {
        "arrival_time_ns": timings.arrival_ns,
        "first_scheduled_time_ns": timings.first_scheduled_ns,
        "first_token_time_ns": timings.first_token_ns,
        "last_token_time_ns": timings.last_token_ns,
    }
    return {
        "kv_cache_alloc_total_blocks": _ints(num_blocks),
        "kv_cache_alloc_new_blocks": _ints(num_blocks - num_reused),
        **{name: np.array([[value]], np.int64) for name, value in times.items()},
    }


def _log_probs(update: Update) -> dict[str, NDArray[Any]]:
    """Of one beam, [1, 1] and [1, 1, tokens], and with the likeliest tokens as JSON."""
    each = [token.logprob for token in update.logprobs]
    return {
        "cum_log_probs": np.array([[update.cumulative_logprob]], np.float32),
        _LOG_PROBS: np.array([[each]], np.float32).reshape(1, 1, len(each)),
        "token_logprobs": np.array([[json.dumps(_plain(update.logprobs)).encode()]], np.object_),
    }


def _plain(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [asdict(token) for token in logprobs]


def _drafts(usage: Usage) -> dict[str, NDArray[Any]]:
    rate = usage.num_accepted_tokens / max(1, usage.num_draft_tokens)
    return {
        "total_draft_tokens": _ints(usage.num_draft_tokens),
        "total_accepted_draft_tokens": _ints(usage.num_accepted_tokens),
        "acceptance_rate": np.array([[rate]], np.float32),
    }


def _ints(values: int | Sequence[int] | Sequence[Sequence[int]]) -> NDArray[np.int32]:
    return np.array([[values]] if isinstance(values, int) else [values], np.int32)
