"""The table of sampling parameters: whatever knows one of them by name is made from its row.

Made from it are the checks of SamplingParams, the tensors of the contract, what the Triton
clients send, what the engine reads, and the options of `llmasos generate` and `llmasos chat`.
A new parameter is a row here and a field in `llmasos.sampling`; its effect is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmasos.sampling_parameter import CliOption, SamplingParameter

MAX_STOP_STRINGS = 256
MAX_STOP_CHARACTERS = 4096
MAX_STOP_TOKEN_IDS = 4096
MAX_STOP_BYTES = 4 * MAX_STOP_CHARACTERS
MAX_PRIORITY = 100
_INT32_MAX = 2**31 - 1
MAX_DEADLINE_MS = _INT32_MAX

SAMPLING_TABLE = (
    SamplingParameter(
        name="max_tokens",
        type="INT32",
        default=128,
        least=1,
        most=_INT32_MAX,
        engine_tensor="request_output_len",
        is_classic=True,
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(help="Most tokens to generate.", is_in_chat=True),
    ),
    SamplingParameter(
        name="min_tokens",
        type="INT32",
        default=0,
        least=0,
        most=_INT32_MAX,
        is_classic=True,
        older_names=("min_length",),
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(help="Do not stop before this many tokens."),
    ),
    SamplingParameter(
        name="temperature",
        type="FP32",
        default=0.0,
        least=0.0,
        most=1e6,
        is_classic=True,
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(help="0 picks the most likely token.", is_in_chat=True),
    ),
    SamplingParameter(
        name="top_k",
        type="INT32",
        default=0,
        least=0,
        most=_INT32_MAX,
        engine_tensor="runtime_top_k",
        is_classic=True,
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(help="Keep the k most likely tokens; 0 keeps all."),
    ),
    SamplingParameter(
        name="top_p",
        type="FP32",
        default=1.0,
        least=0.0,
        most=1.0,
        excludes_least=True,
        engine_tensor="runtime_top_p",
        is_classic=True,
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(
            help="Keep the most likely tokens up to this probability.", is_in_chat=True
        ),
    ),
    SamplingParameter(
        name="min_p",
        type="FP32",
        default=0.0,
        least=0.0,
        most=1.0,
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(help="Drop tokens below this share of the likeliest."),
    ),
    SamplingParameter(
        name="repetition_penalty",
        type="FP32",
        default=1.0,
        least=0.0,
        most=1e6,
        excludes_least=True,
        is_classic=True,
        is_recommended=True,
        changes_logits=True,
        option=CliOption(
            help="Above 1 makes tokens of the prompt and the answer less likely.", is_in_chat=True
        ),
    ),
    SamplingParameter(
        name="presence_penalty",
        type="FP32",
        default=0.0,
        least=-2.0,
        most=2.0,
        is_classic=True,
        changes_logits=True,
        option=CliOption(
            help="Subtracted from the logits of tokens that the answer has, -2 to 2.",
            is_in_chat=True,
        ),
    ),
    SamplingParameter(
        name="frequency_penalty",
        type="FP32",
        default=0.0,
        least=-2.0,
        most=2.0,
        is_classic=True,
        changes_logits=True,
        option=CliOption(
            help="Subtracted as often as the answer has the token, -2 to 2.", is_in_chat=True
        ),
    ),
    SamplingParameter(
        name="seed",
        type="UINT64",
        default=None,
        least=0,
        most=2**64 - 1,
        is_classic=True,
        older_names=("random_seed",),
        option=CliOption(help="Makes sampling repeatable.", is_in_chat=True),
    ),
    SamplingParameter(
        name="stop",
        type="STRING",
        default=(),
        least=1,
        most=MAX_STOP_CHARACTERS,
        max_items=MAX_STOP_STRINGS,
        items="strings",
        tensor="stop_words",
        engine_tensor="stop_text",
        is_classic=True,
        is_recommended=True,
        option=CliOption(help="Text or special token that ends the answer; may be given again."),
    ),
    SamplingParameter(
        name="stop_token_ids",
        type="INT32",
        default=(),
        least=0,
        most=_INT32_MAX,
        max_items=MAX_STOP_TOKEN_IDS,
        items="tokens",
        option=CliOption(
            help="Token that ends the answer, by its id; may be given again.",
            name="--stop-token-id",
        ),
    ),
    SamplingParameter(name="ignore_eos", type="BOOL", default=False, tensor=None),
    SamplingParameter(
        name="priority",
        type="INT32",
        default=0,
        least=-MAX_PRIORITY,
        most=MAX_PRIORITY,
        option=CliOption(help="-100 to 100: a higher one starts sooner."),
    ),
    SamplingParameter(
        name="deadline_ms",
        type="INT32",
        default=None,
        least=1,
        most=MAX_DEADLINE_MS,
        option=CliOption(help="Milliseconds until it fails instead."),
    ),
    SamplingParameter(name="speculate", type="BOOL", default=None),
)
"""In the order in which errors, tensors and options come. ignore_eos is the tensor end_id."""

PARAMETERS: Mapping[str, SamplingParameter] = MappingProxyType(
    {parameter.name: parameter for parameter in SAMPLING_TABLE}
)
"""The rows of the table by the fields of SamplingParams."""
