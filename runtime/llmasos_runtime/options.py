"""Options for running a plan on this machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

from llmasos.errors import InvalidRequestError
from llmasos.generation_config import GenerationConfigChoice, checked_choice

DEFAULT_MAX_QUEUE_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options for running a plan; None is the plan's own value, or the engine's choice.

    num_threads: CPU threads; None is one for each physical core. kv_cache_bytes: None is room for
    max_batch_size sequences of max_seq_len, but at most a quarter of the available memory, or nine
    tenths of a GPU's free memory.
    max_batch_size, max_num_tokens: at most the plan's. max_queue_size: requests that may wait
    before others are refused. pin_threads: bind each thread to a core of its own, which is faster
    unless other processes want the cores too. reuse_prefixes: prefix caching: a prompt that begins
    like an earlier one reuses its keys and values: whole blocks, or on a GPU, where a block is a
    slot, a copy of its beginning.
    speculate: speculative decoding by prompt lookup: verify draft tokens copied from the sequence's
    own text while that is likely to pay; None enables it where it cannot change a token: in f32 and
    in native engines. A request may override it.
    generation_config: whether the model's generation config fills the fields that a request leaves
    open.

    Raises InvalidRequestError, naming the field, its value and its limit.
    """

    num_threads: int | None = None
    kv_cache_bytes: int | None = None
    max_batch_size: int | None = None
    max_num_tokens: int | None = None
    max_queue_size: int = DEFAULT_MAX_QUEUE_SIZE
    pin_threads: bool = True
    reuse_prefixes: bool = True
    speculate: bool | None = None
    generation_config: GenerationConfigChoice = "auto"

    def __post_init__(self) -> None:
        checked_choice(self.generation_config)
        for field in fields(self):
            if field.name == "generation_config":
                continue
            value = getattr(self, field.name)
            if value is not None and not isinstance(value, int):
                raise InvalidRequestError(f"{field.name} must be an integer, got {value!r}")
            if value is not None and value is not False and value < 1:
                raise InvalidRequestError(f"{field.name} must be at least 1, got {value}")
