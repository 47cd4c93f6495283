"""An interpreted engine: sequences join and leave its slots between steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.engine.engine_io import (
    INPUT_IDS,
    KV_WRITE_INDEX,
    LAST_TOKEN_INDEX,
    POSITION_IDS,
    is_cache,
    updated_cache,
)

from llmasos_builder.tensorrt.interpreter.collective import Running, run_together
from llmasos_builder.tensorrt.interpreter.constants import Constants
from llmasos_builder.tensorrt.interpreter.errors import InterpretationError
from llmasos_builder.tensorrt.interpreter.interpreter import Interpreter
from llmasos_builder.tensorrt.interpreter.numbers import Array

_UNWRITTEN = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence in a step.

    slot: its own slot of the cache while it runs. num_computed_tokens: number of its tokens in the
    cache. token_ids: the tokens that follow; one in decode, more in prefill.
    """

    slot: int
    num_computed_tokens: int
    token_ids: Sequence[int]


class InterpretedNetwork:
    """A decoder's network with a KV cache of num_slots sequences, all of them empty.

    Unwritten cache entries are large numbers, so that any use of them shows.
    constants, rounding, progress: see `Interpreter`.
    """

    def __init__(
        self,
        network: Any,
        constants: Constants,
        *,
        num_slots: int,
        rounding: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._interpreter = Interpreter(network, constants, rounding=rounding, progress=progress)
        self._names = {tensor.name for tensor in self._interpreter.inputs}
        self.caches: dict[str, Array] = {
            tensor.name: np.full((num_slots, *tensor.shape[1:]), _UNWRITTEN, np.float32)
            for tensor in self._interpreter.inputs
            if is_cache(tensor.name)
        }
        self.max_seq_len = min(cache.shape[2] for cache in self.caches.values())

    def step(self, rows: Sequence[Row]) -> dict[str, Array]:
        """Runs one forward over the tokens of every row; returns the outputs without the caches.

        Rows are padded on the right to the longest of them. Raises InterpretationError for a row
        that leaves its slot with its padding, and for two rows of one slot.
        """
        return run_together([self.running(rows)])[0]

    def running(self, rows: Sequence[Row], given: Mapping[str, Array] | None = None) -> Running:
        """Runs a step as one rank of several; given: the results of the stage before."""
        slots = [row.slot for row in rows]
        if len(set(slots)) != len(slots):
            raise InterpretationError(f"rows share a slot: {slots}")
        feeds = self._feeds(rows)
        feeds |= {name: cache[slots] for name, cache in self.caches.items()}
        outputs = yield from self._interpreter.running(feeds | dict(given or {}))
        for name, cache in self.caches.items():
            cache[slots] = outputs.pop(updated_cache(name))
        return outputs

    def _feeds(self, rows: Sequence[Row]) -> dict[str, Array]:
        longest = max(len(row.token_ids) for row in rows)
        for row in rows:
            if not row.token_ids or row.num_computed_tokens + longest > self.max_seq_len:
                raise InterpretationError(
                    f"slot {row.slot}: {longest} tokens after {row.num_computed_tokens} do not "
                    f"fit {self.max_seq_len}"
                )
        begins = np.array([row.num_computed_tokens for row in rows], np.int32)
        counts = np.array([len(row.token_ids) for row in rows], np.int32)
        padded = [[*row.token_ids, *[0] * (longest - len(row.token_ids))] for row in rows]
        feeds: dict[str, Array] = {
            INPUT_IDS: np.array(padded, np.int32),
            POSITION_IDS: begins[:, None] + np.arange(longest, dtype=np.int32),
            KV_WRITE_INDEX: begins,
            LAST_TOKEN_INDEX: np.arange(len(rows), dtype=np.int32) * longest + counts - 1,
            "key_value_lengths": begins + longest,
        }
        return {name: feed for name, feed in feeds.items() if name in self._names}
