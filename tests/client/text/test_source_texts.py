"""Languages and tasks are written as each kind of model reads them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from llmasos.engine.encoder_decoder_record import EncoderDecoderRecord
from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError
from llmasos.text.source_texts import EncodedPrompt, SourceTexts
from llmasos.text.text_task import TextTask
from llmasos.text.tokenizer import Tokenizer
from tokenizers import AddedToken, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

WORDS = ("</s>", "a", "b", "c")
END, A, B, C = range(4)
T5_TASKS: dict[str, dict[str, Any]] = {
    "summarization": {"prefix": "b ", "num_beams": 4},
    "translation_en_to_de": {"prefix": "translate English to German: "},
}


def sources(
    tmp_path: Path,
    architecture: str,
    *languages: str,
    start: int | None = END,
    tasks: dict[str, dict[str, Any]] | None = None,
    **config: Any,
) -> SourceTexts:
    vocab = {word: i for i, word in enumerate((*WORDS, *languages))}
    backend = Backend(models.WordLevel(vocab, unk_token="c"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("</s>", *languages)])
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", **config}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    record = EncoderDecoderRecord(decoder_start_token_id=start, tasks=tasks or {})
    plan = SimpleNamespace(architecture=architecture, encoder_decoder=record, eos_token_ids=(END,))
    return SourceTexts(Tokenizer.load(tmp_path), cast("EnginePlan", plan))


def encoded(made: SourceTexts, text: str, **asked: str) -> EncodedPrompt:
    task = TextTask(
        name=asked.get("task", ""),
        source_language=asked.get("source", ""),
        target_language=asked.get("target", ""),
        decoder_text=asked.get("begin", ""),
    )
    return made.encode(made.prefixed(text, task), task)


@pytest.mark.parametrize(
    ("languages", "source", "target"),
    [
        (("__en__", "__fr__"), "en", "fr"),
        (("eng_Latn", "fra_Latn"), "eng_Latn", "fra_Latn"),
        (("eng_Latn", "fra_Latn"), "eng", "fra"),
        (("en_XX", "fr_XX"), "en", "fr_XX"),
        (("en_XX", "fr_XX"), "EN_xx", "FR"),
    ],
)
def test_the_source_begins_the_text_and_the_target_follows_the_start(
    tmp_path: Path, languages: tuple[str, ...], source: str, target: str
) -> None:
    made = sources(tmp_path, "M2M100ForConditionalGeneration", *languages)
    found = encoded(made, "a b", source=source, target=target)
    assert found == EncodedPrompt([4, A, B, END], (END, 5))


def test_mbart_25_has_the_source_behind_and_the_target_first(tmp_path: Path) -> None:
    name = "MBartForConditionalGeneration"
    made = sources(tmp_path, name, "en_XX", "ro_RO", start=None)
    assert encoded(made, "a", source="en", target="ro") == EncodedPrompt([A, END, 4], (5,))


def written_by(name: str, **config: Any) -> dict[str, Any]:
    """A resolved tokenizer_config.json of the class with this name."""
    return {"llmasos_resolved": True, "llmasos_written_by": name, **config}


def test_mbart_50_has_both_before(tmp_path: Path) -> None:
    name, resolved = "MBartForConditionalGeneration", written_by("MBart50Tokenizer")
    made = sources(tmp_path, name, "en_XX", "ro_RO", start=END, tasks=None, **resolved)
    assert encoded(made, "a", source="en", target="ro") == EncodedPrompt([4, A, END], (END, 5))


def test_nllb_puts_the_source_behind_the_text_where_told_to(tmp_path: Path) -> None:
    name = "M2M100ForConditionalGeneration"
    resolved = written_by("NllbTokenizer", legacy_behaviour=True)
    made = sources(tmp_path, name, "eng_Latn", "fra_Latn", start=END, tasks=None, **resolved)
    found = encoded(made, "a", source="eng", target="fra")
    assert found == EncodedPrompt([A, END, 4], (END, 5))


def test_marian_writes_the_target_before_the_text(tmp_path: Path) -> None:
    made = sources(tmp_path, "MarianMTModel", ">>fra<<", ">>deu<<")
    for target in ("deu", "DEU"):
        assert encoded(made, "a", target=target) == EncodedPrompt([5, A, END])
    assert encoded(made, "a") == EncodedPrompt([A, END])


def test_marian_of_one_pair_checks_the_languages(tmp_path: Path) -> None:
    made = sources(tmp_path, "MarianMTModel", source_lang="en", target_lang="de")
    assert encoded(made, "a", task="translate", source="English", target="de").token_ids == [A, END]
    with pytest.raises(InvalidRequestError, match="target_language must be de: the model trans"):
        encoded(made, "a", target="fr")


def test_t5_reads_its_task_before_the_text(tmp_path: Path) -> None:
    made = sources(tmp_path, "T5ForConditionalGeneration", tasks=T5_TASKS)
    for source, target in (("en", "de"), ("English", "german"), ("EN", "German")):
        task = TextTask(name="translate", source_language=source, target_language=target)
        assert made.prefixed("a", task) == "translate English to German: a"
        assert made.encode("a", task).task == "translation_en_to_de"
    other = TextTask(name="translate", source_language="fr", target_language="Swahili")
    assert made.prefixed("a", other) == "translate French to Swahili: a"
    assert made.encode("a", other).task == ""
    with pytest.raises(InvalidRequestError, match="source_language is missing"):
        encoded(made, "a", task="translate", target="de")


def test_summaries_have_the_prefix_and_the_name_of_their_task(tmp_path: Path) -> None:
    made = sources(tmp_path, "T5ForConditionalGeneration", tasks=T5_TASKS)
    assert encoded(made, "a", task="summarize") == EncodedPrompt([B, A, END], (), "summarization")
    assert encoded(made, "a", task="summarization").task == "summarization"
    plain = TextTask(name="summarize")
    assert sources(tmp_path, "MT5ForConditionalGeneration").prefixed("a", plain) == "summarize: a"
    assert sources(tmp_path, "BartForConditionalGeneration").prefixed("a", plain) == "a"


def test_a_decoder_text_follows_what_the_decoder_begins_with(tmp_path: Path) -> None:
    made = sources(tmp_path, "M2M100ForConditionalGeneration", "__en__", "__fr__")
    assert encoded(made, "a", begin="b c").decoder_token_ids == (END, B, C)
    assert encoded(made, "a", target="fr", begin="b").decoder_token_ids == (END, 5, B)


def test_what_the_model_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    made = sources(tmp_path, "M2M100ForConditionalGeneration", "__en__", "__fr__", tasks=T5_TASKS)
    with pytest.raises(
        InvalidRequestError, match="source_language must be one of the model's languages, en, fr"
    ):
        encoded(made, "a", source="xx")
    known = "translate, summarize, summarization, translation_en_to_de"
    with pytest.raises(InvalidRequestError, match=f"task must be one of {known}, got 'dance'"):
        encoded(made, "a", task="dance")
