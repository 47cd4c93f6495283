"""The classic models between text and token ids: `preprocessing` and `postprocessing`.

Clients that sample outside the ensemble call them around `tensorrt_llm`. `preprocessing` asks
`tokenizer`. `postprocessing` is `detokenizer` by other names, configuration alone.
"""

from __future__ import annotations

from dataclasses import replace

from llmasos.contract.config import GENERATED, MAX_ROWS, ModelConfig, Step
from llmasos.contract.settings import RepositorySettings
from llmasos.contract.tensor import DataType, Support, Tensor

PREPROCESSING, POSTPROCESSING = "preprocessing", "postprocessing"
_INT32, _INT64, _UINT8 = DataType.INT32, DataType.INT64, DataType.UINT8
_UINT64, _FP16, _FP32 = DataType.UINT64, DataType.FP16, DataType.FP32
_STRING, _BOOL = DataType.STRING, DataType.BOOL


def _optional(name: str, data_type: DataType, *dims: int) -> Tensor:
    return Tensor(name=name, type=data_type, dims=dims or (1,), optional=True)


def _refused(name: str, data_type: DataType, *dims: int) -> Tensor:
    return replace(_optional(name, data_type, *dims), support=Support.NEUTRAL_ONLY)


def _output(name: str, data_type: DataType, *dims: int) -> Tensor:
    return Tensor(name=name, type=data_type, dims=dims or (1,))


def _unmade(name: str, data_type: DataType, *dims: int) -> Tensor:
    return replace(_output(name, data_type, *dims), support=Support.NEUTRAL_ONLY)


PREPROCESSING_INPUTS = (
    Tensor(name="QUERY", type=_STRING),
    _optional("DECODER_QUERY", _STRING),
    _refused("IMAGE_BYTES", _UINT8, -1, -1, -1, -1),
    _refused("IMAGE_URL", _STRING),
    _refused("IMAGES", _STRING, -1),
    _refused("VIDEO_BYTES", _UINT8, -1, -1, -1, -1),
    Tensor(name="REQUEST_OUTPUT_LEN", type=_INT32),
    _optional("BAD_WORDS_DICT", _STRING, -1),
    _optional("STOP_WORDS_DICT", _STRING, -1),
    _optional("EMBEDDING_BIAS_WORDS", _STRING, -1),
    _optional("EMBEDDING_BIAS_WEIGHTS", _FP32, -1),
    _optional("END_ID", _INT32),
    _optional("PAD_ID", _INT32),
    replace(_refused("PROMPT_TABLE_EXTRA_ID", _UINT64), neutral=(0,)),
)

PREPROCESSING_OUTPUTS = (
    _output("INPUT_ID", _INT32, -1),
    _output("REQUEST_INPUT_LEN", _INT32),
    _output("DECODER_INPUT_ID", _INT32, -1),
    _output("REQUEST_DECODER_INPUT_LEN", _INT32),
    _output("BAD_WORDS_IDS", _INT32, 2, -1),
    _output("STOP_WORDS_IDS", _INT32, 2, -1),
    _output("EMBEDDING_BIAS", _FP32, -1),
    _output("REQUEST_OUTPUT_LEN", _INT32, -1),
    _output("OUT_END_ID", _INT32),
    _output("OUT_PAD_ID", _INT32),
    _output("OUT_PROMPT_TABLE_EXTRA_IDS", _UINT64, -1),
    _unmade("PIXEL_VALUES", _FP16, -1, -1, -1, -1),
    _unmade("ASPECT_RATIO_IDS", _INT64, -1),
    _unmade("ASPECT_RATIO_MASK", _INT64, -1, -1),
    _unmade("CROSS_ATTENTION_MASK", _INT64, -1, -1, -1),
    _unmade("IMAGE_SIZES", _INT64, -1, 2),
    _unmade("IS_VIDEO_INPUT", _BOOL),
    _unmade("ATTENTION_MASK", _INT64, -1),
    _unmade("IMAGE_GRID_THW", _INT64, 3),
    _unmade("VISION_INPUT_ID", _INT32, -1),
)
"""Those of images are declared, as in the classic model, and never sent, as by it without any."""

POSTPROCESSING_INPUTS = (
    Tensor(name="TOKENS_BATCH", type=_INT32, dims=(-1, -1)),
    Tensor(name="SEQUENCE_LENGTH", type=_INT32, dims=(-1,)),
)
POSTPROCESSING_OUTPUT = _output("OUTPUT", _STRING, -1)


def preprocessing(settings: RepositorySettings) -> ModelConfig:
    """Its tokenizer_dir is for what the plan says of tokens; texts go to `tokenizer`."""
    return ModelConfig(
        name=PREPROCESSING,
        comment=(GENERATED, "It asks the model tokenizer."),
        max_batch_size=MAX_ROWS,
        inputs=PREPROCESSING_INPUTS,
        outputs=PREPROCESSING_OUTPUTS,
        parameters={"tokenizer_dir": settings.tokenizer_dir, "add_special_tokens": "true"},
    )


def postprocessing() -> ModelConfig:
    """`detokenizer` takes these inputs beside those of the ensemble."""
    names = {tensor.name: tensor.name for tensor in POSTPROCESSING_INPUTS}
    step = Step(
        model_name="detokenizer", inputs=names, outputs={"text_output": POSTPROCESSING_OUTPUT.name}
    )
    return ModelConfig(
        name=POSTPROCESSING,
        comment=(GENERATED, "This is the model detokenizer, with classic tensors."),
        max_batch_size=MAX_ROWS,
        inputs=POSTPROCESSING_INPUTS,
        outputs=(POSTPROCESSING_OUTPUT,),
        steps=(step,),
    )
