"""The table of sampling parameters: whatever knows one of them by name is made from its row.

Made from it are the checks of SamplingParams, the tensors of the contract, what the Triton
clients send, what the engine reads, and the options of `llmasos generate` and `llmasos chat`.
A new parameter is a row here and a field in `llmasos.sampling`; its effect is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmasos.sampling_choice import CHOICE_ROWS
from llmasos.sampling_limits import (
    INT32_MAX,
    MAX_ANSWERS,
    MAX_BEAM_WIDTH,
    MAX_DEADLINE_MS,
    MAX_LOGPROBS,
    MAX_PRIORITY,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
)
from llmasos.sampling_parameter import CliOption, SamplingParameter

SAMPLING_TABLE = (
    SamplingParameter(
        name="n",
        type="INT32",
        default=1,
        least=1,
        most=MAX_ANSWERS,
        tensor="num_return_sequences",
        is_classic=True,
        option=CliOption(help="Answers to make.", name="--n"),
    ),
    SamplingParameter(
        name="beam_width",
        type="INT32",
        default=1,
        least=1,
        most=MAX_BEAM_WIDTH,
        is_classic=True,
        option=CliOption(help="Beams to search for the likeliest answer; 1 searches none."),
    ),
    SamplingParameter(
        name="length_penalty",
        type="FP32",
        default=1.0,
        least=-100.0,
        most=100.0,
        engine_tensor="len_penalty",
        is_classic=True,
        option=CliOption(help="Of beams: above 0 favours long answers, below 0 short ones."),
    ),
    SamplingParameter(
        name="early_stopping",
        type="BOOL",
        default=False,
        is_classic=True,
        option=CliOption(help="Of beams: stop when as many answers as beams have ended."),
    ),
    SamplingParameter(
        name="max_tokens",
        type="INT32",
        default=128,
        least=1,
        most=INT32_MAX,
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
        most=INT32_MAX,
        is_classic=True,
        older_names=("min_length",),
        is_always_sent=True,
        is_recommended=True,
        option=CliOption(help="Do not stop before this many tokens."),
    ),
    *CHOICE_ROWS,
    SamplingParameter(
        name="logprobs",
        type="INT32",
        default=None,
        least=0,
        most=MAX_LOGPROBS,
        option=CliOption(
            help="Log probabilities of each token and so many likeliest ones, with --json."
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
        name="include_stop_str_in_output",
        type="BOOL",
        default=False,
        option=CliOption(help="The text ends with the stop string, and not before it."),
    ),
    SamplingParameter(
        name="stop_token_ids",
        type="INT32",
        default=(),
        least=0,
        most=INT32_MAX,
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
