"""The commands of models with an encoder print what LLM gives, a line for each text."""

from __future__ import annotations

import asyncio
import json

import needs_torch  # noqa: F401
import pytest
from encoder_decoder_networks import write_encoder_decoder
from llmasos import LLM, AsyncLLM
from llmasos.errors import InvalidRequestError
from llmasos_app.cli.app import app
from llmasos_builder.build import BuildOptions, build
from typer.testing import CliRunner

TEXTS = ["w5 w6 w7", "w8 w9"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose files ask for beams and short answers, and for more of them in summaries."""
    directory = tmp_path_factory.mktemp("tasks")
    tasks = {"summarization": {"prefix": "w9 ", "max_length": 6, "num_beams": 3}}
    write_encoder_decoder(
        directory / "checkpoint",
        "m2m_100",
        languages=("__en__", "__fr__"),
        task_specific_params=tasks,
    )
    path = directory / "checkpoint" / "generation_config.json"
    config = {**json.loads(path.read_text()), "num_beams": 2, "max_length": 9}
    path.write_text(json.dumps({**config, "no_repeat_ngram_size": 2}))
    return str(build(directory / "checkpoint", directory / "built", BuildOptions(precision="f32")))


def lines(*arguments: str, stdin: str = "") -> list[str]:
    result = CliRunner().invoke(app, [*arguments, "--threads", "1"], input=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_each_text_has_a_line_with_what_the_models_files_recommend(built: str) -> None:
    with LLM(built, num_threads=1) as llm:
        translated = llm.translate_all(TEXTS, source="en", target="fr")
        greedy = llm.translate_all(TEXTS, source="en", target="fr", beam_width=1)
        summarized = [llm.summarize(text) for text in TEXTS]
        assert [llm.translate(text, source="en", target="fr") for text in TEXTS] == translated
        assert llm.summarize_all(TEXTS) == summarized
    assert all(len(text.split()) <= 7 for text in translated)
    assert all(len(text.split()) <= 5 for text in summarized)
    languages = ("--source", "en", "--target", "fr")
    assert lines("translate", "--model", built, *languages, *TEXTS) == translated
    one = lines("translate", "--model", built, *languages, "--beam-width", "1", *TEXTS)
    assert one == greedy != translated
    assert lines("summarize", "--model", built, stdin="\n".join(TEXTS)) == summarized


def test_asyncio_has_the_same(built: str) -> None:
    async def ask() -> list[str]:
        async with await AsyncLLM.load(built, num_threads=1) as llm:
            both = await asyncio.gather(
                *(llm.translate(text, source="en", target="fr") for text in TEXTS)
            )
            assert list(both) == await llm.translate_all(TEXTS, source="en", target="fr")
            assert await llm.summarize_all(TEXTS) == [await llm.summarize(t) for t in TEXTS]
            return list(both)

    with LLM(built, num_threads=1) as llm:
        assert asyncio.run(ask()) == llm.translate_all(TEXTS, source="en", target="fr")


def test_wrong_languages_and_texts_are_refused(built: str) -> None:
    with LLM(built, num_threads=1) as llm:
        with pytest.raises(InvalidRequestError, match="source must be a language, got an empty"):
            llm.translate("w5", source="")
        with pytest.raises(InvalidRequestError, match="source_language must be one of"):
            llm.translate("w5", source="xx", target="fr")
        with pytest.raises(InvalidRequestError, match="prompts must be a list of str, got str"):
            llm.translate_all("w5")
        with pytest.raises(InvalidRequestError, match="the prompt is empty"):
            llm.generate_from_tokens([[]])
