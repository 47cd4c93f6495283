"""Tokens, scores and texts are those of lm-evaluation-harness' own model of transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from llmasos_builder.build import BuildOptions, build_plan
from tiny import CHAT_TEMPLATE, SPECIAL_TOKENS, begin_texts

pytest.importorskip("lm_eval", reason='needs pip install "llmasos[evaluate]" accelerate')
pytestmark = pytest.mark.filterwarnings("ignore")  # the harness' own

BOS = SPECIAL_TOKENS[0]
LIMIT = 48
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Größe?"},
    {"role": "assistant", "content": "About "},
]
PAIRS = [
    ("a b c", " d"),
    (f"{BOS}a b", " c"),
    ("a trailing space ", "x y"),
    ("", "no context"),
    ("", f"{BOS}begins"),
    ("x y z " * 40, " the end"),
    ("a", "x" * LIMIT),
]


@pytest.fixture(scope="module", params=[True, False], ids=["adds BOS", "adds none"])
def checkpoint(
    request: pytest.FixtureRequest, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its chat template writes a BOS token, and its tokenizer adds one, too, or none."""
    directory = tmp_path_factory.mktemp("harness") / "checkpoint"
    shutil.copytree(tiny_llama, directory)
    if request.param:
        begin_texts(directory)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = "{{ bos_token }}" + CHAT_TEMPLATE
    path.write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="module")
def plan(checkpoint: Path) -> Path:
    path = checkpoint.with_name("plan")
    build_plan(checkpoint, path, BuildOptions(precision="f32", max_seq_len=LIMIT))
    return path


def theirs_and_ours(checkpoint: Path, plan: Path, **options: Any) -> tuple[Any, Any]:
    from llmasos_app.lm_eval import LLMasOSModel
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(
        pretrained=str(checkpoint),
        device="cpu",
        dtype="float32",
        max_length=LIMIT,
        batch_size=1,
        **options,
    )
    return theirs, LLMasOSModel(str(plan), threads=1, **options)


def asked(kind: str, *arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("task", 0, 1))


@pytest.mark.parametrize("add_bos_token", [None, True, False])
def test_the_harness_own_model_gives_the_same(
    checkpoint: Path, plan: Path, add_bos_token: bool | None
) -> None:
    theirs, ours = theirs_and_ours(checkpoint, plan, add_bos_token=add_bos_token)
    assert (ours.eot_token_id, ours.prefix_token_id) == (
        theirs.eot_token_id,
        theirs.prefix_token_id,
    )
    chats = [
        (model.apply_chat_template(CHAT[:2]), model.apply_chat_template(CHAT, False))
        for model in (theirs, ours)
    ]
    assert chats[0] == chats[1]
    chat, continued = chats[0]
    assert chat.startswith(BOS)
    for text in (chat, continued, "a b", f"{BOS}a", ""):
        for special in (None, True, False):
            for cut in (None, 3):
                arguments = {"add_special_tokens": special, "left_truncate_len": cut}
                found = ours.tok_encode(text, **arguments)
                assert found == theirs.tok_encode(text, **arguments), (text, arguments)
    pairs = [asked("loglikelihood", *pair) for pair in [*PAIRS, (chat, " 3 m"), (continued, "3")]]
    expected = theirs.loglikelihood(pairs, disable_tqdm=True)
    for pair, found, wanted in zip(
        pairs, ours.loglikelihood(pairs, disable_tqdm=True), expected, strict=True
    ):
        assert found == (pytest.approx(wanted[0], rel=1e-4), wanted[1]), pair.args
    texts = [asked("loglikelihood_rolling", text) for text in ("a b c", chat, "long " * 60)]
    rolling = theirs.loglikelihood_rolling(texts, disable_tqdm=True)
    assert ours.loglikelihood_rolling(texts) == pytest.approx(rolling, rel=1e-4)
    for options in ({"until": ["a"], "max_gen_toks": 9}, {"until": [], "max_gen_toks": 24}):
        prompts = [asked("generate_until", text, options) for text in (chat, "a b", "x y z " * 40)]
        assert ours.generate_until(prompts) == theirs.generate_until(prompts, disable_tqdm=True)
