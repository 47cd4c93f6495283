"""What a model repository may choose."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.errors import InvalidRequestError
from llmasos.generation_config import checked_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySettings:
    """What a repository may choose; paths are relative to a model's version directory.

    tokenizer_dir: the tokenizer, for `tokenizer` and `detokenizer`.
    gpt_model_path: the engine plan, for `engine`.
    num_threads, kv_cache_bytes, max_batch_size, max_num_tokens: the engine's; None leaves the
        choice to it.
    max_queue_size: requests that may wait before others are refused.
    enable_kv_cache_reuse: a prompt that begins like an earlier one shares its KV blocks.
    speculate: guess tokens that an answer repeats, for requests that do not say; None leaves
        the choice to the engine.
    generation_config: auto or none (`llmasos.generation_config.GenerationConfigChoice`).
    stream_interval: tokens of one response of a stream, after the first, which has one; None
        sends each token at once, or what has gathered where the server falls behind its engine.
    cancellation_check_period_ms: how often the engine looks for clients that have gone.
    default_deadline_ms: the longest that a request without `deadline_ms` may take.
    decoupled_mode: the classic-named models stream; otherwise they answer unary requests, each
        with one response.
    exclude_input_in_output: single answers of the classic-named models leave out the prompt where
        a request does not say.
    include_stop_str_in_output: the text of the classic-named models ends with its stop word, and
        not before it, where a request does not say.
    detokenizer_batch_size: pieces of text of different requests decoded in one call.
    detokenizer_delay_us: microseconds that a piece waits for others of its step.
    """

    tokenizer_dir: str = "../../engine/1/plan"
    gpt_model_path: str = "plan"
    num_threads: int | None = None
    kv_cache_bytes: int | None = None
    max_batch_size: int | None = None
    max_num_tokens: int | None = None
    max_queue_size: int = 1024
    enable_kv_cache_reuse: bool = True
    speculate: bool | None = None
    generation_config: str = "auto"
    stream_interval: int | None = None
    cancellation_check_period_ms: int = 200
    default_deadline_ms: int = 600_000
    decoupled_mode: bool = True
    exclude_input_in_output: bool = False
    include_stop_str_in_output: bool = True
    detokenizer_batch_size: int = 64
    detokenizer_delay_us: int = 1000

    def __post_init__(self) -> None:
        checked_choice(self.generation_config)
        for name in (
            "num_threads",
            "kv_cache_bytes",
            "max_batch_size",
            "max_num_tokens",
            "max_queue_size",
            "stream_interval",
            "cancellation_check_period_ms",
            "default_deadline_ms",
            "detokenizer_batch_size",
            "detokenizer_delay_us",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidRequestError(f"{name} must be at least 1, got {value}")
