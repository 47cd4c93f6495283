"""JSON that is deep, long or contradicts itself, and sizes that no network has."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.making import change_json

CONFIG, TOKENIZER = "config.json", "tokenizer.json"


def _written(directory: Path, name: str, content: bytes) -> None:
    (directory / name).write_bytes(content)


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: change_json(directory / CONFIG, **changes)


def _tokenizer(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def changed(directory: Path) -> None:
        content = json.loads((directory / TOKENIZER).read_text())
        change(content)
        (directory / TOKENIZER).write_text(json.dumps(content))

    return changed


def _nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def _added(count: int, content: Callable[[int], str]) -> list[dict[str, Any]]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return [{"id": 300 + i, "content": content(i), **flags} for i in range(count)]


def _gpt_neo(directory: Path) -> None:
    fields = {
        "architectures": ["GPTNeoForCausalLM"],
        "model_type": "gpt_neo",
        "hidden_size": 16,
        "num_heads": 4,
        "num_layers": 1000,
        "vocab_size": 259,
        "max_position_embeddings": 512,
        "attention_types": [["global" * 10**4, 10**9]] * 50,
    }
    (directory / CONFIG).write_text(json.dumps(fields))


def _replacing(pattern: Any, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _chain(section: str, *parts: dict[str, Any]) -> Callable[[Path], None]:
    names = {"normalizer": "normalizers", "decoder": "decoders", "post_processor": "processors"}
    return _tokenizer(
        lambda t: t.update({section: {"type": "Sequence", names[section]: list(parts)}})
    )


_ONE = {"String": "e"}
_DEEP = b'{"a":' * 10**6
CASES: dict[str, tuple[Callable[[Path], Path | None], str]] = {
    **{
        f"deep JSON in {name}": (
            partial(_written, name=name, content=_DEEP),
            f"{name} nests objects and lists deeper than 64",
        )
        for name in (CONFIG, TOKENIZER, "tokenizer_config.json", "generation_config.json")
    },
    **{
        f"millions of lists in {name}": (
            partial(_written, name=name, content=b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"),
            f"{name} has 10000003 values, at most",
        )
        for name in (CONFIG, TOKENIZER)
    },
    "a number of a million digits": (
        partial(_written, name=CONFIG, content=b'{"hidden_size": ' + b"1" * 10**6 + b"}"),
        "a number has 1000000 digits, at most 100",
    ),
    "a key twice": (
        partial(_written, name=CONFIG, content=b'{"hidden_size": 1, "hidden_size": 2}'),
        "the key 'hidden_size' appears twice",
    ),
    "a lone surrogate": (
        partial(_written, name="tokenizer_config.json", content=b'{"eos_token": "\\udfff"}'),
        "a lone surrogate",
    ),
    "hidden_size 10^12": (_config(hidden_size=10**12), "hidden_size must be an integer from"),
    "10^9 layers": (_config(num_hidden_layers=10**9), "num_hidden_layers must be an integer"),
    "-1 layers": (_config(num_hidden_layers=-1), "num_hidden_layers must be an integer"),
    "true layers": (_config(num_hidden_layers=True), "num_hidden_layers must be an integer"),
    "1.5 layers": (_config(num_hidden_layers=1.5), "num_hidden_layers must be an integer"),
    "1024 layers": (_config(num_hidden_layers=1024), "the checkpoint has no tensor model.layers.1"),
    "a vocabulary of 2^28": (
        _config(vocab_size=1 << 28),
        "model.embed_tokens.weight has the shape",
    ),
    "heads of 2^16": (
        _config(num_attention_heads=1 << 16, num_key_value_heads=1 << 16, head_dim=1 << 16),
        "self_attn.q_proj.weight has the shape",
    ),
    "rope_theta NaN": (_config(rope_theta=float("nan")), "rope_theta must be a number above 0"),
    "rope_theta Infinity": (_config(rope_theta=float("inf")), "rope_theta must be a number above"),
    "yarn whose theta is 1": (
        _config(rope_theta=1.0, rope_scaling={"rope_type": "yarn", "factor": 4.0}),
        "its numbers do not make sense",
    ),
    "yarn whose factor is 1e308": (
        _config(rope_scaling={"rope_type": "yarn", "factor": 1e308}),
        "its numbers do not make sense",
    ),
    "layer types by the million": (
        _config(
            architectures=["Qwen3ForCausalLM"],
            model_type="qwen3",
            layer_types=["full_attention"] * 500_000,
        ),
        "layer_types is",
    ),
    "attention_types that repeat": (
        _gpt_neo,
        "attention_types must make global or local",
    ),
    "a tokenizer that nests": (
        _tokenizer(lambda t: t.update(normalizer=_nested(300))),
        "nests objects and lists deeper than 64",
    ),
    "a million added tokens": (
        _tokenizer(lambda t: t.update(added_tokens=_added(10**6, lambda i: f"<|{i}|>"))),
        "added tokens",
    ),
    "an added token of a megabyte": (
        _tokenizer(lambda t: t.update(added_tokens=_added(1, lambda _: "x" * (1 << 20)))),
        "added token",
    ),
    "ids that are none": (
        _tokenizer(lambda t: t["model"]["vocab"].update(a=-1, b=1 << 40)),
        "is not a readable tokenizer",
    ),
    "a vocabulary of no object": (
        _tokenizer(lambda t: t["model"].update(vocab=[1, 2])),
        "is not a readable tokenizer",
    ),
    "a tokenizer of another type": (
        _tokenizer(lambda t: t["model"].update(type="Nonsense")),
        "is not a readable tokenizer",
    ),
    "a pattern that is no regular expression": (
        _tokenizer(
            lambda t: t.update(
                pre_tokenizer={
                    "type": "Split",
                    "pattern": {"Regex": "(" * 100},
                    "behavior": "Isolated",
                    "invert": False,
                }
            )
        ),
        "is not a readable tokenizer",
    ),
    "a normalizer that grows by replacing": (
        _chain("normalizer", *[_replacing(_ONE, "ee")] * 11),
        "normalizer can make a text more than 1024 times longer",
    ),
    "a normalizer that replaces by much": (
        _chain("normalizer", _replacing(_ONE, "e" * (1 << 20))),
        "normalizer can make a text more than 1024 times longer",
    ),
    "a normalizer that replaces nothing by much": (
        _chain("normalizer", *[_replacing({"Regex": ""}, "ee")] * 7),
        "normalizer can make a text more than 1024 times longer",
    ),
    "a decoder that grows": (
        _chain("decoder", *[_replacing(_ONE, "ee")] * 11),
        "decoder can make a text more than 1024 times longer",
    ),
    "a normalizer of a million parts": (
        _chain("normalizer", *[{"type": "NFC"}] * 10**6),
        "normalizer has more than 1024 parts",
    ),
    "a template that writes the text over and over": (
        _tokenizer(
            lambda t: t.update(
                post_processor={
                    "type": "TemplateProcessing",
                    "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2000,
                    "pair": [],
                    "special_tokens": {},
                }
            )
        ),
        "post_processor can make a text more than",
    ),
    "a chain of replacements that are usual": (
        _chain("normalizer", *[_replacing({"String": "``"}, '"')] * 20),
        "",
    ),
}
