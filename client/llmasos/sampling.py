"""What a caller may say about an answer: how tokens are chosen, when to stop, how soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from llmasos.errors import InvalidRequestError
from llmasos.guide import Guide, check_guide
from llmasos.sampling_table import PARAMETERS, SAMPLING_TABLE

SAMPLING_FIELDS = frozenset(PARAMETERS) | {"guide"}
"""Names of the fields of SamplingParams that a caller may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose the next token, when to stop and when to start. Temperature 0 is greedy.

    n: answers to each prompt, in [1, 128]. The first draws by `seed`, and each other by the next
        number; they share the blocks of the prompt. See Generation.choices.
    beam_width: in [1, 64]; above 1 the likeliest answers are searched for, with so many beginnings
        side by side, and none is drawn: temperature is 0 then, and n at most beam_width. Answers
        come whole, the best first; all logits are needed, and `guide` is refused. As `num_beams`
        in transformers (Freitag and Al-Onaizan, arXiv:1702.01806).
    length_penalty: in [-100, 100]; a beam's log probability is divided by its length to this power.
    early_stopping: the search stops as soon as beam_width answers have ended; otherwise when none
        that runs is better than the worst of them.
    max_tokens: most tokens to generate, in [1, 2^31).
    min_tokens: end-of-sequence and stop token ids cannot be chosen before this many
        tokens, and stop strings are not looked for.
    temperature: logits are divided by it; 0 picks the most likely token.
    top_k: keep the k most likely tokens; 0 keeps all.
    top_p: keep the smallest set of most likely tokens whose probability reaches it,
        in (0, 1]; 1 keeps all (Holtzman et al., arXiv:1904.09751).
    top_p_decay: in (0, 1]; top_p is multiplied by it after each token, as TensorRT-LLM has it
        (Lee et al., arXiv:2206.04624).
    top_p_min: in [0, 1]; what top_p does not decay below.
    top_p_reset_ids: the token after which top_p is whole again; None is no token.
    min_p: drop tokens less likely than min_p times the most likely one, in [0, 1]
        (Nguyen et al., arXiv:2407.01082).
    repetition_penalty: above 0; the logit of a token that the prompt or the output has is
        divided by it if positive, else multiplied (Keskar et al., arXiv:1909.05858).
    presence_penalty: in [-2, 2]; is subtracted from the logit of a token that the output has.
    frequency_penalty: in [-2, 2]; is subtracted as many times as the output has the token.
    no_repeat_ngram_size: a token that would repeat an n-gram of so many tokens, of the prompt or
        the output, cannot be chosen; 0 allows all (Paulus et al., arXiv:1705.04304).
    bad_words: texts that the output must not have. The last token of a word cannot be chosen
        behind the others; a word is looked up alone and behind a space, and can still come spelt
        in other tokens.
    logit_bias: what is added to the logits of tokens by their ids, in [-1e9, 1e9]; a mapping, kept
        as pairs. Ids must be below the model's vocabulary size.
    allowed_token_ids: the only tokens that can be chosen; none given allows all.
    suppress_tokens: tokens that cannot be chosen.
    begin_suppress_tokens: tokens that cannot be the first of the output.
    logprobs: in [0, 20]; returns the log probability of each token, and those of so many likeliest
        ones at its place. None returns none. They are the model's own; see TokenLogprob.
    seed: in [0, 2^64). A draw depends only on seed, output index and the logits;
        None draws a fresh seed.
    stop: strings that end the text; the text is cut before the first one found. One that is a
        special token stops at that token, which text does not show; one that holds such a
        token beside other text is refused.
    include_stop_str_in_output: the text ends with the stop string, and is not cut before it.
    stop_token_ids: tokens that end the text, beside the model's own end tokens.
    ignore_eos: keep going past the model's own end tokens.
    priority: in [-100, 100]; of requests that wait, a higher one starts sooner, and when
        the KV cache is full a lower one gives way first.
    deadline_ms: milliseconds from its arrival in the engine, at least 1, after which a
        request that is not answered ends with a DeadlineExceededError; None is none.
    speculate: whether tokens may be guessed and verified, several in one step; None leaves
        it to the engine. It changes the speed, not how tokens are chosen.
    guide: the language that the answer must be in (`llmasos.guide`), such as the JSON of a schema.
        The answer ends where it is whole, also with ignore_eos.
    open_fields: names of the fields that the caller left to the model; its generation config
        may replace their values. `open_to_model` sets it.

    Raises InvalidRequestError, naming the field, its value and its limit.
    """

    n: int = 1
    beam_width: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    max_tokens: int = 128
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    top_p_decay: float = 1.0
    top_p_min: float = 0.0
    top_p_reset_ids: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    bad_words: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    logprobs: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    priority: int = 0
    deadline_ms: int | None = None
    speculate: bool | None = None
    guide: Guide | None = None
    open_fields: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def open_to_model(cls, **given: Any) -> SamplingParams:
        """Params that leave every field that is not given to the model.

        The model's generation config (`llmasos.generation_config`) fills in what it recommends;
        other fields keep their defaults. Raises TypeError for a name that is no field.
        """
        return cls(**given, open_fields=SAMPLING_FIELDS - given.keys())

    @property
    def logit_changes(self) -> dict[str, Any]:
        """The parameters that change logits, where they ask for something."""
        rows = (row for row in SAMPLING_TABLE if row.changes_logits)
        values = ((row, getattr(self, row.name)) for row in rows)
        asked = {row.name: value for row, value in values if value != row.default}
        return asked if self.guide is None else {**asked, "guide": self.guide}

    def __post_init__(self) -> None:
        for parameter in SAMPLING_TABLE:
            value = parameter.checked(getattr(self, parameter.name))
            object.__setattr__(self, parameter.name, value)
        check_guide(self.guide)
        if self.min_tokens > self.max_tokens:
            raise InvalidRequestError(
                f"min_tokens must be between 0 and {self.max_tokens}, got {self.min_tokens}"
            )


class SamplingFields(TypedDict, total=False):
    """The fields of SamplingParams as keyword arguments; `stop` may be one string."""

    n: int
    beam_width: int
    length_penalty: float
    early_stopping: bool
    max_tokens: int
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    top_p_decay: float
    top_p_min: float
    top_p_reset_ids: int | None
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram_size: int
    bad_words: str | Sequence[str]
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]]
    allowed_token_ids: Sequence[int]
    suppress_tokens: Sequence[int]
    begin_suppress_tokens: Sequence[int]
    logprobs: int | None
    seed: int | None
    stop: str | Sequence[str]
    include_stop_str_in_output: bool
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    priority: int
    deadline_ms: int | None
    speculate: bool | None
    guide: Guide | None
