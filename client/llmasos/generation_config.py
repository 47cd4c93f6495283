"""The values that a checkpoint recommends for generation: its generation_config.json.

As in `transformers`, they fill the fields that a caller leaves open
(`SamplingParams.open_fields`). Fields of the file that are not supported are kept by name in
`not_applied`, so that they can be reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmasos import recommended_beams as beams
from llmasos.banned_tokens import bad_words_of, forced_eos_of
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.files.json_file import read_json_object
from llmasos.neutral_values import NEUTRAL
from llmasos.sampling import SamplingParams
from llmasos.sampling_table import SAMPLING_TABLE

if TYPE_CHECKING:
    from llmasos.engine.plan import EnginePlan

GENERATION_CONFIG_FILE = "generation_config.json"
GenerationConfigChoice = Literal["auto", "none"]
"""auto: the model's generation config fills in what a request leaves open. none: nothing does."""


def checked_choice(choice: str) -> GenerationConfigChoice:
    """Returns a valid choice; raises InvalidRequestError for anything else."""
    if choice == "auto":
        return "auto"
    if choice == "none":
        return "none"
    raise InvalidRequestError(f"generation_config must be auto or none, got {choice!r}")


_MODEL_CONFIG_FILE = "config.json"
_SAMPLING_TOP_K = 50
"""The top_k of transformers' `generate` for a model that samples and names none."""
_LENGTHS = ("max_new_tokens", "max_length", "min_new_tokens", "min_length")
_READ_APART = {"max_tokens", "min_tokens", "temperature", "top_p", "stop"}
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """The recommended values; None where the checkpoint recommends nothing.

    source: name of the file that they come from.
    sampling: values by the fields of SamplingParams; temperature is 0 if the checkpoint asks for
        greedy decoding.
    max_length, min_length: tokens of prompt and answer together; max_new_tokens and
    min_new_tokens take precedence.
    bad_words: token ids of each word that must not come. forced_eos_token_id: the last token of an
        answer as long as it may be.
    not_applied: fields that would change an answer and have no effect here, with their values.
    """

    source: str = GENERATION_CONFIG_FILE
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()
    forced_eos_token_id: int | None = None
    not_applied: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path | str) -> GenerationConfig:
        """Reads the values from a checkpoint or plan directory.

        Without generation_config.json the fields of config.json count, as in transformers.
        Raises CheckpointError for a value of the wrong type or out of range.
        """
        path = Path(directory) / GENERATION_CONFIG_FILE
        if not path.exists():
            path = Path(directory) / _MODEL_CONFIG_FILE
        return cls.parse(read_json_object(path, default={}), name=str(path))

    @classmethod
    def parse(cls, content: Mapping[str, Any], *, name: str) -> GenerationConfig:
        """Checks the content of a file. name: the file's name in errors."""
        said = {key: value for key, value in content.items() if value is not None}
        config = cls(
            source=Path(name).name,
            sampling=_sampling(said, name=name),
            **{key: said[key] for key in _LENGTHS if key in said},
            bad_words=bad_words_of(said, name=name),
            forced_eos_token_id=forced_eos_of(said, name=name),
            not_applied=_not_applied(said),
        )
        try:
            config._check()
        except InvalidRequestError as error:
            raise CheckpointError(f"{name}: {error}") from error
        return config

    def complete(self, params: SamplingParams, *, num_prompt_tokens: int) -> SamplingParams:
        """Returns the params with their open fields filled in.

        Raises InvalidRequestError if the prompt reaches max_length and the caller set no
        max_tokens.
        """
        if not params.open_fields:
            return params
        recommended = {**self.sampling, **self._lengths(params, num_prompt_tokens)}
        chosen = {k: v for k, v in recommended.items() if k in params.open_fields}
        if not beams.may_search(chosen, params):
            chosen = {k: v for k, v in chosen.items() if k not in beams.BEAM_FIELDS}
        return replace(params, open_fields=frozenset(), **_fitting(chosen, params))

    def for_plan(self, plan: EnginePlan) -> GenerationConfig:
        """The config without what the plan's engine cannot do; `not_applied` has that then."""
        if plan.samples_from_all_logits:
            return self
        params = SamplingParams(**self.sampling)
        asked = params.logit_changes
        if params.beam_width > 1:
            asked |= {name: getattr(params, name) for name in beams.BEAM_FIELDS}
        rest = {name: value for name, value in self.sampling.items() if name not in asked}
        return replace(self, sampling=rest, not_applied={**asked, **self.not_applied})

    def over(self, other: GenerationConfig) -> GenerationConfig:
        """This config, and another's values where this one recommends nothing."""
        lengths = {n: getattr(self, n) for n in _LENGTHS if getattr(self, n) is not None}
        return replace(other, sampling={**other.sampling, **self.sampling}, **lengths)

    def described(self) -> str:
        """The recommended values in one line; empty if there are none."""
        values = {row.name: self.sampling.get(row.name) for row in SAMPLING_TABLE}
        values |= {name: getattr(self, name) for name in _LENGTHS}
        return ", ".join(f"{name} {_short(v)}" for name, v in values.items() if v is not None)

    def warning(self) -> str | None:
        """One line that names the fields that are not applied; None if all are."""
        if not self.not_applied:
            return None
        fields = ", ".join(f"{name} {_short(value)}" for name, value in self.not_applied.items())
        return (
            f"{self.source} asks for {fields}, which is not supported yet: "
            "answers can differ from those of transformers"
        )

    def _lengths(self, params: SamplingParams, num_prompt_tokens: int) -> dict[str, int]:
        max_tokens, min_tokens = self.max_new_tokens, self.min_new_tokens
        if max_tokens is None and self.max_length is not None:
            max_tokens = self.max_length - num_prompt_tokens
            if max_tokens < 1 and "max_tokens" in params.open_fields:
                raise InvalidRequestError(
                    f"the prompt has {num_prompt_tokens} tokens, and max_length of {self.source} "
                    f"is {self.max_length}",
                    hint="set max_tokens",
                )
        if min_tokens is None and self.min_length is not None:
            min_tokens = max(0, self.min_length - num_prompt_tokens)
        lengths = {"max_tokens": max_tokens, "min_tokens": min_tokens}
        return {name: length for name, length in lengths.items() if length is not None}

    def _check(self) -> None:
        """Raises InvalidRequestError, naming the field."""
        for name in _LENGTHS:
            value, least = getattr(self, name), 1 if name.startswith("max") else 0
            if value is not None and (type(value) is not int or not least <= value < 2**31):
                raise InvalidRequestError(
                    f"{name} must be an integer of at least {least}, got {_short(value)}"
                )
        SamplingParams(**self.sampling)


def _not_applied(said: Mapping[str, Any]) -> dict[str, Any]:
    asked = {k: said[k] for k, neutral in NEUTRAL.items() if k in said and said[k] not in neutral}
    return beams.beams_not_applied(said) | asked


def _sampling(said: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """Values by the fields of SamplingParams; those of `_READ_APART` are said in another way."""
    plain = (row.name for row in SAMPLING_TABLE if row.is_recommended)
    values = {field: said[field] for field in plain if field in said and field not in _READ_APART}
    values |= _randomness(said)
    values |= beams.recommended_beams(said)
    stop = _stop(said.get("stop_strings"), name=name)
    return values if stop is None else {**values, "stop": stop}


def _randomness(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of random sampling; do_sample false or missing means greedy decoding."""
    top_p, samples = said.get("top_p"), said.get("do_sample") is True
    values: dict[str, Any] = {}
    if "do_sample" in said:
        values["temperature"] = said.get("temperature", 1.0) if samples else 0.0
    if samples:
        values["top_k"] = said.get("top_k", _SAMPLING_TOP_K)
    if isinstance(top_p, int | float):
        values["top_p"] = min(top_p, 1.0)  # transformers filters nothing from 1 on
    elif top_p is not None:
        values["top_p"] = top_p
    if top_p == 0:  # the likeliest token alone
        values |= {"temperature": 0.0, "top_p": 1.0}
    return values


def _stop(strings: object, *, name: str) -> tuple[str, ...] | None:
    if strings is None:
        return None
    listed = [strings] if isinstance(strings, str) else strings
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise CheckpointError(f"{name}: stop_strings must be strings, got {_short(strings)}")
    return tuple(listed)


def _fitting(chosen: dict[str, Any], params: SamplingParams) -> dict[str, Any]:
    """Lets the caller's own max_tokens or min_tokens win over the checkpoint's other bound."""
    max_tokens = chosen.get("max_tokens", params.max_tokens)
    if "max_tokens" in chosen and "min_tokens" not in chosen:
        chosen["max_tokens"] = max(max_tokens, params.min_tokens)
    if "min_tokens" in chosen:
        chosen["min_tokens"] = min(chosen["min_tokens"], max_tokens)
    return chosen


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, float) else f"{value:g}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
