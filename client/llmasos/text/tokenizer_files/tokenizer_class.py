"""The tokenizer class that transformers' AutoTokenizer picks for a checkpoint.

The class matters: most take only the vocabulary, the merges and the post-processor of
tokenizer.json and pre-tokenize in their own way. A generic class takes the file as it is. The
choice depends on tokenizer_config.json and on the model type, since checkpoints of some model
types are known to name a wrong class.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.sources import CONFIG_FILE, TokenizerSources

GENERIC = "TokenizersBackend"
_GENERIC_NAMES = frozenset(
    ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast")
)
BY_MODEL_TYPE: Mapping[str, str] = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n"), "GemmaTokenizer"),
    **dict.fromkeys(("bert", "distilbert", "electra"), "BertTokenizer"),
    **dict.fromkeys(("bart", "roberta"), "RobertaTokenizer"),
    **dict.fromkeys(("mt5", "t5"), "T5Tokenizer"),
    "m2m_100": "M2M100Tokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mbart50": "MBart50Tokenizer",
    "mpnet": "MPNetTokenizer",
    **dict.fromkeys(("nllb", "nllb-moe"), "NllbTokenizer"),
    "pegasus": "PegasusTokenizer",
    **dict.fromkeys(("bigbird_pegasus", "pegasus_x"), GENERIC),
    "xlm-roberta": "XLMRobertaTokenizer",
    **dict.fromkeys(("gpt2", "gpt_neo", "opt"), "GPT2Tokenizer"),
    "gpt_neox": "GPTNeoXTokenizer",
    **dict.fromkeys(("qwen2", "qwen2_5_vl", "qwen2_vl", "qwen3", "qwen3_vl"), "Qwen2Tokenizer"),
    **dict.fromkeys(("mistral", "mistral3", "phi3", "pixtral", "llava", "llava_next"), GENERIC),
}
"""Model types whose class is known: those that can be built, and those they may be a part of."""
DISTRUSTED = frozenset(("llava", "llava_next", "phi3", "qwen2"))
"""Model types whose checkpoints often name a wrong class; the model type's own class counts."""
RECIPES = frozenset(
    (
        *(
            "CodeGenTokenizer",
            "CodeLlamaTokenizer",
            "GPT2Tokenizer",
            "GPTNeoXTokenizer",
            "GemmaTokenizer",
        ),
        *("LlamaTokenizer", "Qwen2Tokenizer", "Qwen3_5Tokenizer"),
        *("BartTokenizer", "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"),
        *("MPNetTokenizer", "RobertaTokenizer", "T5Tokenizer", "XLMRobertaTokenizer"),
        *("M2M100Tokenizer", "MBart50Tokenizer", "MBartTokenizer", "MarianTokenizer"),
        *("NllbTokenizer", "PegasusTokenizer"),
    )
)
"""Classes that pre-tokenize in their own way and that `rebuilt` knows."""
_OTHERS = """
Albert Barthez Bartpho BertGeneration BertJapanese BertTokenizerLegacy Bertweet BigBird BioGpt
Blenderbot BlenderbotSmall ByT5 CLIP CTRL Camembert Canine Clvp Cohere Cpm CpmAnt DPRContextEncoder
DPRQuestionEncoder DPRReader Deberta DebertaV2 Dia Esm Esmc FSMT FastSpeech2Conformer Flaubert
Funnel GPTNeoXJapanese GPTSw3 Herbert LED Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Luke Lxmert
MLuke MarkupLM Mgpstr MobileBert Mvp MyT5 Nougat OpenAIGPT PLBart
Perceiver Phobert Pop2Piano ProphetNet Rag Reformer RemBert RoCBert RoFormer SeamlessM4T Siglip
Siglip2 Speech2Text SpeechT5 Splinter SqueezeBert Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC
Wav2Vec2PhonemeCTC Whisper XGLM XLM XLNet
"""
UNSUPPORTED = frozenset(_OTHERS.split())
"""Other classes of transformers, without their suffix; names unknown to it are generic."""


def tokenizer_class(sources: TokenizerSources, config: Mapping[str, Any]) -> str:
    """A name in RECIPES, or GENERIC.

    config: the content of tokenizer_config.json. Raises CheckpointError, naming the field, for
    a class that is not known here and for one that is the checkpoint's own code.
    """
    model_type = sources.model_config.get("model_type") or ""
    own = _name(config.get("tokenizer_class"), sources.path(CONFIG_FILE))
    named = own or _name(sources.model_config.get("tokenizer_class"), sources.path("config.json"))
    registered = BY_MODEL_TYPE.get(model_type) if isinstance(model_type, str) else None
    if _has_own_code(config):
        if own not in RECIPES and own != GENERIC:
            raise CheckpointError(
                f"{sources.path(CONFIG_FILE)}: auto_map names a tokenizer that is code of the "
                "checkpoint's own, which is not run",
                hint="save it with transformers as tokenizer.json of a class without code",
            )
        return own
    if named == "LlamaTokenizer" and model_type not in DISTRUSTED and _is_byte_level(sources):
        return GENERIC
    if named is None:
        return GENERIC if config.get("tokenizer_class") == "" else registered or GENERIC
    if registered is not None and registered != named and registered == GENERIC:
        return GENERIC
    chosen = registered if registered is not None and model_type in DISTRUSTED else named
    return _known(chosen, sources)


def _name(value: Any, path: str) -> str | None:
    """Returns a class name without the suffix of its fast form, the only form today."""
    if not value:
        return None
    if not isinstance(value, str):
        raise CheckpointError(f"{path}: tokenizer_class must be a name, got {short(value)}")
    return GENERIC if value in _GENERIC_NAMES else value.removesuffix("Fast")


def _has_own_code(config: Mapping[str, Any]) -> bool:
    auto_map = config.get("auto_map")
    if isinstance(auto_map, Mapping):
        return auto_map.get("AutoTokenizer") is not None
    return bool(auto_map)


def _is_byte_level(sources: TokenizerSources) -> bool:
    return b'"ByteLevel"' in sources.contents.get("tokenizer.json", b"")


def _known(name: str, sources: TokenizerSources) -> str:
    if name in RECIPES:
        return name
    if {name, name.removesuffix("Tokenizer")} & UNSUPPORTED:
        raise CheckpointError(
            f"{sources.path(CONFIG_FILE)}: tokenizer_class {name!r} is not supported; it has a "
            "pre-tokenizer of its own",
            hint=f"supported are {', '.join(sorted(RECIPES))}, and PreTrainedTokenizerFast for a "
            "tokenizer.json that is complete",
        )
    return GENERIC
