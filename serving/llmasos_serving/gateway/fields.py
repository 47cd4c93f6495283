"""The fields of requests: strict, with null as absent, and by name where they are refused."""

from __future__ import annotations

from typing import Any, ClassVar

from llmasos.guide import Guide
from llmasos.sampling import SamplingParams
from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmasos_serving.gateway.api_error import unsupported
from llmasos_serving.gateway.response_format import GUIDED_FIELDS, guide_of


class Strict(BaseModel):
    """A body whose unknown fields are refused, and whose null fields count as absent.

    not_supported: fields of the API that are refused by name, with what to do instead; a value
    listed for one asks for nothing, and is accepted.
    """

    model_config = ConfigDict(extra="forbid")
    not_supported: ClassVar[dict[str, tuple[str, tuple[Any, ...]]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = {name: value for name, value in values.items() if value is not None}
        for name, (hint, neutral) in cls.not_supported.items():
            if name in given and given.pop(name) not in neutral:
                raise unsupported(name, hint)
        return given


class StreamOptions(Strict):
    """include_usage: a last chunk with the usage and no choices."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Sampling(Strict):
    """How tokens are chosen: OpenAI's fields, and those of SamplingParams that it has not.

    Fields that are left out are the model's own recommendation (its generation_config.json), and
    else SamplingParams' defaults: a temperature of 0.
    """

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[int, float] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    stop: str | list[str] | None = None
    n: int = Field(1, ge=1, le=128)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    no_repeat_ngram_size: int | None = Field(None, ge=0)
    bad_words: list[str] | None = None
    min_tokens: int | None = Field(None, ge=0)
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    priority: int | None = Field(None, ge=-100, le=100)
    deadline_ms: int | None = Field(None, ge=1)
    response_format: dict[str, Any] | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    def params(
        self, *, max_tokens: int, logprobs: int | None, guide: Guide | None = None
    ) -> list[SamplingParams]:
        """One SamplingParams for each of `n` answers; raises ApiError or InvalidRequestError.

        logprobs: see SamplingParams. guide: in place of what the fields ask for. A seed is the
        first answer's; each next has the next one.
        """
        names = (
            "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "min_p",
            "repetition_penalty", "no_repeat_ngram_size", "bad_words", "min_tokens",
            "stop_token_ids", "ignore_eos", "priority", "deadline_ms", "stop",
        )  # fmt: skip
        given: dict[str, Any] = {
            name: value for name in names if (value := getattr(self, name)) is not None
        }
        if self.top_k is not None:
            given["top_k"] = max(0, self.top_k)  # -1 is 0, as in vLLM
        given |= {"max_tokens": max_tokens, "logprobs": logprobs}
        given["guide"] = self.guide if guide is None else guide
        if self.seed is None:
            return [SamplingParams.open_to_model(**given)] * self.n
        return [
            SamplingParams.open_to_model(**given, seed=(self.seed + index) % 2**64)
            for index in range(self.n)
        ]

    @property
    def guide(self) -> Guide | None:
        """What the answer must look like, if the fields say it."""
        guided = {n: value for n in GUIDED_FIELDS if (value := getattr(self, n)) is not None}
        return guide_of(self.response_format, guided)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage
