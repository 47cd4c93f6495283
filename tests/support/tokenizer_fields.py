"""Every file and field that transformers reads a tokenizer from, with values to try.

A row changes one checkpoint of `tokenizer_bases` in one place. To cover a new field, add rows
here: the sweep tries each with every base.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizer_bases import write_json

CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
ADDED = "added_tokens.json"
TOKENIZER = "tokenizer.json"
MODEL = "config.json"
CONTENT = "content"
_ALL = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """file: which one changes. fields: of its object, CONTENT alone for a file of text."""

    file: str
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        values = ",".join(f"{name}={json.dumps(v)}" for name, v in self.fields.items())
        return f"{self.file.removesuffix('.json')}:{values}"[:90]

    def apply(self, directory: Path) -> None:
        path = directory / self.file
        if CONTENT in self.fields:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.fields[CONTENT].encode())
            return
        stored = json.loads(path.read_text()) if path.exists() else {}
        write_json(path, {**stored, **self.fields})


def _object(content: str, **flags: bool) -> dict[str, Any]:
    return {CONTENT: content, **flags}


def _typed(content: str, **flags: bool) -> dict[str, Any]:
    return {"__type": "AddedToken", CONTENT: content, **flags}


def _numbered(**tokens: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("n"): token for name, token in tokens.items()}


_NO_FLAGS = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
_TOKEN_VALUES: tuple[Any, ...] = (
    "<s>",
    "<new>",
    "fox",
    "",
    None,
    _typed("<s>", lstrip=True, rstrip=False, normalized=False, single_word=False),
    _typed("<new>", **{**_NO_FLAGS, "rstrip": True}, normalized=True, special=False),
    _object("<s>", lstrip=True),
    7,
)
_LISTS: tuple[Any, ...] = (
    ["<x>", "<|im_start|>", "<|im_end|>"],
    ["<x>", "<x>", "<s>", "the"],
    [_typed("<x>", **_NO_FLAGS, normalized=True), "<y>"],
    [_object("<x>", lstrip=True)],
    {"image_token": "<x>", "boi": "<y>"},
    [],
    None,
    "<x>",
    [3],
)
_DECODERS: tuple[Any, ...] = (
    {},
    _numbered(n0=_object("<unk>", special=True, normalized=False, lstrip=True)),
    _numbered(
        n9=_object("<x>", special=False, normalized=False, rstrip=True, lstrip=False),
        n5000=_object("<late>", special=True),
        n4999=_object("<mid>", special=False, normalized=True, single_word=True),
    ),
    _numbered(n1=_object("<s>", special=False, normalized=True), n2=_object("<e>", special=True)),
    {"1": "<s>"},
    [1],
    {"x": _object("<s>")},
)
_CONFIG: Mapping[str, tuple[Any, ...]] = {
    "bos_token": _TOKEN_VALUES,
    "eos_token": _TOKEN_VALUES,
    "unk_token": ("<unk>", "<new>", None),
    "pad_token": ("<e>", "<pad>", "a", None),
    "sep_token": ("<sep>", None),
    "cls_token": (_typed("<cls>", **_NO_FLAGS),),
    "mask_token": (_typed("<mask>", **{**_NO_FLAGS, "lstrip": True}),),
    "image_token": ("<image>", _typed("<image>", lstrip=True), _object("<image>"), True),
    "prefix_token": ("<PRE>", None),
    "fill_token": (None, "<FILL>", _typed("<FILL>", **_NO_FLAGS)),
    "additional_special_tokens": _LISTS,
    "extra_special_tokens": _LISTS,
    "model_specific_special_tokens": ({"audio_token": "<audio>"}, [1]),
    "added_tokens_decoder": _DECODERS,
    "add_bos_token": (True, False, None),
    "add_eos_token": (True, False),
    "add_prefix_space": (True, False, None, "yes"),
    "legacy": (True, False, None),
    "split_special_tokens": (True, False),
    "clean_up_tokenization_spaces": (True, False),
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": (True,),
    "spaces_between_special_tokens": (True, False),
    "use_default_system_prompt": (True,),
    "do_lower_case": (True,),
    "strip_accents": (True,),
    "errors": ("strict",),
    "trim_offsets": (False,),
    "model_max_length": (4, 1e30),
    "max_len": (3,),
    "padding_side": ("left",),
    "truncation_side": ("left",),
    "sp_model_kwargs": ({},),
    "fix_mistral_regex": (True, False),
    "fast_tokenizer_files": (["tokenizer.json"], ["tokenizer.json", "tokenizer.4.0.0.json"], []),
    "auto_map": (
        {"AutoTokenizer": ["code.House", None]},
        {"AutoConfig": "code.House"},
        ["code.House", None],
    ),
    "tokenizer_class": (
        None,
        "",
        *("LlamaTokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "GemmaTokenizer"),
        *("GPTNeoXTokenizer", "CodeGenTokenizer", "TokenizersBackend", "House"),
        *("T5Tokenizer", "CodeLlamaTokenizer", "CohereTokenizer", "XLMTokenizer"),
        *("GPTSw3Tokenizer", "RobertaTokenizer", "PreTrainedTokenizer"),
    ),
    "chat_template": (
        None,
        "{{ bos_token }}|" + _ALL + "|{{ image_token }}",
        [
            {"name": "default", "template": "D{{ eos_token }}" + _ALL},
            {"name": "rag", "template": "R" + _ALL},
        ],
        [{"name": "rag", "template": "R" + _ALL}],
        {"default": "a mapping" + _ALL},
        [{"name": "default"}],
        7,
    ),
}
_SPECIAL: tuple[Mapping[str, Any], ...] = (
    {"bos_token": "<s>", "eos_token": "<e>", "unk_token": "<unk>"},
    {"bos_token": _object("<s>", **_NO_FLAGS, normalized=False)},
    {"eos_token": _object("<new>", **{**_NO_FLAGS, "lstrip": True}, normalized=True)},
    {"pad_token": None, "eos_token": "<e>"},
    {"additional_special_tokens": ["<x>", "<|im_end|>"]},
    {"additional_special_tokens": [_object("<x>")]},
    {"extra_special_tokens": ["<y>", _object("<x>", **_NO_FLAGS, normalized=False)]},
    {"extra_special_tokens": {"image_token": "<x>"}},
    {"image_token": "<image>"},
    {"add_bos_token": True},
)
_ADDED: tuple[Mapping[str, Any], ...] = (
    {"<x>": 1000, "<y>": 900},
    {"<s>": 1, "<|im_start|>": 2000, "<|im_end|>": 2001, "<new>": 2002},
    {"the": 12},
    {"<x>": "a"},
    {},
)
_SECTIONS: Mapping[str, tuple[Any, ...]] = {
    "truncation": (
        {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
    ),
    "padding": tuple(
        {
            "strategy": strategy,
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 2,
            "pad_type_id": 0,
            "pad_token": token,
        }
        for strategy, token in (("BatchLongest", "<e>"), ({"Fixed": 32}, "<padding>"))
    ),
    "normalizer": ({"type": "Lowercase"}, None),
    "pre_tokenizer": ({"type": "Whitespace"}, None),
    "post_processor": (
        None,
        {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<e>", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<e>": {"id": "<e>", "ids": [2], "tokens": ["<e>"]}},
        },
    ),
    "decoder": ({"type": "Fuse"}, None),
    "added_tokens": (
        [],
        [
            {
                "id": 7,
                "content": "<|im_end|>",
                **_NO_FLAGS,
                "normalized": False,
                "special": False,
            }
        ],
    ),
}
_MODEL: tuple[Mapping[str, Any], ...] = (
    {"tokenizer_class": "GPT2Tokenizer"},
    {"tokenizer_class": "LlamaTokenizerFast"},
    {"transformers_version": "4.40.0"},
    {"transformers_version": "5.1.0"},
    {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0},
)
_TEXTS: tuple[tuple[str, str], ...] = (
    ("chat_template.jinja", "{{ bos_token }}file\r\n{{ eos_token }} " + _ALL),
    ("additional_chat_templates/rag.jinja", "rag" + _ALL),
    ("additional_chat_templates/default.jinja", "another default" + _ALL),
)

VARIATIONS: tuple[Variation, ...] = (
    *(
        Variation(file=CONFIG, fields={name: value})
        for name, values in _CONFIG.items()
        for value in values
    ),
    *(Variation(file=SPECIAL, fields=fields) for fields in _SPECIAL),
    *(Variation(file=ADDED, fields=fields) for fields in _ADDED),
    *(
        Variation(file=TOKENIZER, fields={name: value})
        for name, values in _SECTIONS.items()
        for value in values
    ),
    *(Variation(file=MODEL, fields=fields) for fields in _MODEL),
    *(Variation(file=file, fields={CONTENT: text}) for file, text in _TEXTS),
    *(
        Variation(file=file, fields={CONTENT: text})
        for file, text in chain(
            ((SPECIAL, "{,}"), (ADDED, "[1]"), (TOKENIZER, "{}"), (CONFIG, "[]")),
        )
    ),
)
