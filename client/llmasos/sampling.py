"""What a caller may say about an answer: how tokens are chosen, when to stop, how soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from llmasos.errors import InvalidRequestError
from llmasos.sampling_table import PARAMETERS, SAMPLING_TABLE

SAMPLING_FIELDS = frozenset(PARAMETERS)
"""Names of the fields of SamplingParams that a caller may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose the next token, when to stop and when to start. Temperature 0 is greedy.

    max_tokens: most tokens to generate, in [1, 2^31).
    min_tokens: end-of-sequence and stop token ids cannot be chosen before this many
        tokens, and stop strings are not looked for.
    temperature: logits are divided by it; 0 picks the most likely token.
    top_k: keep the k most likely tokens; 0 keeps all.
    top_p: keep the smallest set of most likely tokens whose probability reaches it,
        in (0, 1]; 1 keeps all (Holtzman et al., arXiv:1904.09751).
    min_p: drop tokens less likely than min_p times the most likely one, in [0, 1]
        (Nguyen et al., arXiv:2407.01082).
    repetition_penalty: above 0; the logit of a token that the prompt or the output has is
        divided by it if positive, else multiplied (Keskar et al., arXiv:1909.05858).
    presence_penalty: in [-2, 2]; is subtracted from the logit of a token that the output has.
    frequency_penalty: in [-2, 2]; is subtracted as many times as the output has the token.
    seed: in [0, 2^64). A draw depends only on seed, output index and the logits;
        None draws a fresh seed.
    stop: strings that end the text; the text is cut before the first one found. One that is a
        special token stops at that token, which text does not show; one that holds such a
        token beside other text is refused.
    stop_token_ids: tokens that end the text, beside the model's own end tokens.
    ignore_eos: keep going past the model's own end tokens.
    priority: in [-100, 100]; of requests that wait, a higher one starts sooner, and when
        the KV cache is full a lower one gives way first.
    deadline_ms: milliseconds from its arrival in the engine, at least 1, after which a
        request that is not answered ends with a DeadlineExceededError; None is none.
    speculate: whether tokens may be guessed and verified, several in one step; None leaves
        it to the engine. It changes the speed, not how tokens are chosen.
    open_fields: names of the fields that the caller left to the model; its generation config
        may replace their values. `open_to_model` sets it.

    Raises InvalidRequestError, naming the field, its value and its limit.
    """

    max_tokens: int = 128
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    priority: int = 0
    deadline_ms: int | None = None
    speculate: bool | None = None
    open_fields: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def open_to_model(cls, **given: Any) -> SamplingParams:
        """Params that leave every field that is not given to the model.

        The model's generation config (`llmasos.generation_config`) fills in what it recommends;
        other fields keep their defaults. Raises TypeError for a name that is no field.
        """
        return cls(**given, open_fields=SAMPLING_FIELDS - given.keys())

    @property
    def logit_changes(self) -> dict[str, float]:
        """The parameters that change logits by the tokens before, where they ask for something."""
        rows = (row for row in SAMPLING_TABLE if row.changes_logits)
        values = ((row, getattr(self, row.name)) for row in rows)
        return {row.name: value for row, value in values if value != row.default}

    def __post_init__(self) -> None:
        for parameter in SAMPLING_TABLE:
            value = parameter.checked(getattr(self, parameter.name))
            object.__setattr__(self, parameter.name, value)
        if self.min_tokens > self.max_tokens:
            raise InvalidRequestError(
                f"min_tokens must be between 0 and {self.max_tokens}, got {self.min_tokens}"
            )


class SamplingFields(TypedDict, total=False):
    """The fields of SamplingParams as keyword arguments; `stop` may be one string."""

    max_tokens: int
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int | None
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    priority: int
    deadline_ms: int | None
    speculate: bool | None
