"""The inputs of one request as Python values, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from llmasos.contract.tensor import Support, Tensor
from llmasos.errors import InvalidRequestError, UnsupportedFieldError
from numpy.typing import NDArray

from llmasos_runtime.triton.backend import BackendRequest

_SHOWN = 40
_MOST_NEUTRAL = 4096


class Fields:
    """Reads inputs; an input that is absent or has no elements reads as None or empty.

    table: the contract's tensors by input name; errors use their names, so that they name what the
    client sent even if an ensemble has renamed it.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], table: Mapping[str, Tensor]) -> None:
        self._arrays = arrays
        self._table = table

    @classmethod
    def of(cls, request: BackendRequest, table: Mapping[str, Tensor]) -> Fields:
        """Raises InvalidRequestError for a request of several rows."""
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        rows = max((array.shape[0] for array in arrays.values()), default=1)
        if rows != 1:
            raise InvalidRequestError(
                f"a request holds one prompt, got a batch of {rows}; send {rows} requests"
            )
        return cls(arrays, table)

    def seen_as(self, table: Mapping[str, Tensor]) -> Fields:
        """Returns the same inputs, named after another table where that has them."""
        return Fields(self._arrays, {**self._table, **table})

    def renamed(self, names: Mapping[str, str]) -> Fields:
        """Returns the same inputs under other names; errors keep those that the client used.

        names: old name -> new name. Raises InvalidRequestError for an input sent by both names.
        """
        old = [name for name in names if self.has(name)]
        for name in old:
            if self.has(names[name]):
                raise InvalidRequestError(f"{name} and {names[name]} are one input; send only one")
        arrays = {name: array for name, array in self._arrays.items() if name not in names}
        arrays |= {names[name]: self._arrays[name] for name in old}
        table = {**self._table, **{names[name]: self._table[name] for name in old}}
        return Fields(arrays, table)

    def refuse_unsupported(self) -> None:
        """Raises UnsupportedFieldError for the first input that asks for an unsupported feature."""
        for name, array in self._arrays.items():
            tensor = self._table[name]
            if tensor.support is Support.NEUTRAL_ONLY and array.size:
                tensor.refuse_unless_neutral(self._plain(name))
                if array.size > _MOST_NEUTRAL:
                    raise UnsupportedFieldError(
                        f"{tensor.name} is not supported yet: got {array.size} elements, "
                        "leave it out"
                    )

    def display_name(self, name: str) -> str:
        return self._table[name].name

    def has(self, name: str) -> bool:
        """True if the client sent the input with at least one element."""
        array = self._arrays.get(name)
        return array is not None and array.size > 0

    def boolean(self, name: str) -> bool | None:
        value = self._scalar(name)
        return None if value is None else bool(value)

    def integer(self, name: str) -> int | None:
        value = self._scalar(name)
        return None if value is None else int(value)

    def number(self, name: str) -> float | None:
        """Returns the number as the client wrote it (0.7, not the nearest FP32), as in process."""
        value = self._scalar(name)
        return None if value is None else float(str(value))

    def integers(self, name: str, most: int | None = None) -> list[int]:
        """Returns all integers, or the first `most` of them."""
        array = self._arrays.get(name)
        return [] if array is None else array.reshape(-1)[:most].tolist()

    def matrix(self, name: str) -> NDArray[np.int64] | None:
        """A [2, n] input without its batch dimension."""
        array = self._arrays.get(name)
        if array is None or not array.size:
            return None
        return array.reshape(2, -1).astype(np.int64)

    def vector(self, name: str) -> NDArray[Any] | None:
        """A [n] input without its batch dimension."""
        return self._arrays[name].reshape(-1) if self.has(name) else None

    def num_elements(self, name: str) -> int:
        array = self._arrays.get(name)
        return 0 if array is None else array.size

    def num_bytes(self, name: str) -> int:
        """Total bytes of all strings of an input, before they are decoded."""
        array = self._arrays.get(name)
        return 0 if array is None else sum(map(len, array.reshape(-1)))

    def num_text_bytes(self) -> int:
        """Total bytes of the strings of all inputs."""
        names = (name for name, array in self._arrays.items() if array.dtype == object)
        return sum(map(self.num_bytes, names))

    def check_texts(self, name: str, *, most: int, most_bytes: int) -> None:
        """Raises InvalidRequestError for too many or too long strings; empty ones do not count."""
        array = self._arrays.get(name)
        sizes = [] if array is None else [size for item in array.reshape(-1) if (size := len(item))]
        if len(sizes) > most:
            raise InvalidRequestError(
                f"{self.display_name(name)} holds {len(sizes)} strings, at most {most}"
            )
        if sizes and max(sizes) > most_bytes:
            raise InvalidRequestError(
                f"{self.display_name(name)} holds a string of {max(sizes)} bytes, at most "
                f"{most_bytes}"
            )

    def texts(self, name: str) -> list[str]:
        """Returns strings; raises InvalidRequestError if one is not UTF-8."""
        array = self._arrays.get(name)
        if array is None:
            return []
        return [self._decode(name, item) for item in array.reshape(-1).tolist()]

    def text(self, name: str) -> str:
        """Returns the strings of an input as one; empty if there is none."""
        return "".join(self.texts(name))

    def _scalar(self, name: str) -> Any:
        array = self._arrays.get(name)
        return None if array is None or not array.size else array.reshape(-1)[0]

    def _plain(self, name: str) -> Iterator[Any]:
        """Yields the first elements, one by one, since a refused one is most often the first."""
        for item in self._arrays[name].reshape(-1)[:_MOST_NEUTRAL]:
            yield self._decode(name, item) if isinstance(item, bytes | str) else item.item()

    def _decode(self, name: str, item: bytes | str) -> str:
        if isinstance(item, str):
            return item
        try:
            return item.decode("utf-8")
        except UnicodeDecodeError as error:
            shown = item[max(0, error.start - 8) : error.start + 8][:_SHOWN]
            raise InvalidRequestError(
                f"{self.display_name(name)} is not valid UTF-8: "
                f"byte {error.start} of {len(item)}, near {shown!r}"
            ) from error
