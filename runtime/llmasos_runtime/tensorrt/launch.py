"""One run of the network: rows of equal length over neighbouring slots of the KV cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llmasos.errors import LLMasOSError
from numpy.typing import NDArray

Ints = NDArray[np.int32]


class SlotError(LLMasOSError):
    """A launch would leave its slots: an internal error, found before it harms other rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """B rows of S tokens; row b is the slot first_slot + b.

    input_ids, position_ids: [B, S]. kv_write_index: [B], position in its slot of a row's first
    token.
    last_token_index: [B], index among the B * S tokens of the row's last token. first_row: number
    of this launch's first row among the rows that the step returns.
    """

    profile: int
    first_slot: int
    first_row: int
    input_ids: Ints
    position_ids: Ints
    kv_write_index: Ints
    last_token_index: Ints

    @property
    def num_rows(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def length(self) -> int:
        return int(self.input_ids.shape[1])

    def check(self, *, num_slots: int, max_seq_len: int) -> None:
        """Raises SlotError for a row that writes or looks up something outside its slot.

        TensorRT silently writes nothing for a row whose tokens do not fit, and reads whatever lies
        behind the table of positions.
        """
        rows, length = self.input_ids.shape
        if not 0 <= self.first_slot <= self.first_slot + rows - 1 < num_slots:
            raise SlotError(f"{rows} rows from slot {self.first_slot} on, there are {num_slots}")
        begins = self.kv_write_index
        ends = int(begins.max()) + length
        if int(begins.min()) < 0 or ends > max_seq_len:
            raise SlotError(f"{length} tokens end at {ends} of a slot of {max_seq_len}")
        if (self.position_ids != begins[:, None] + np.arange(length, dtype=np.int32)).any():
            raise SlotError("positions are not where the tokens are written")
        lasts = self.last_token_index - np.arange(rows, dtype=np.int32) * length
        if int(lasts.min()) < 0 or int(lasts.max()) >= length:
            raise SlotError(f"a row's last token is none of its {length}")
