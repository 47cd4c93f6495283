"""The model's own recommendations fill in what a caller leaves open, as transformers does it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import made_engine
import pytest
from llmasos import LLM, SamplingParams
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.files.json_file import parse_json_object
from llmasos.generation_config import GenerationConfig
from llmasos.guide import Guide
from llmasos.neutral_values import NEUTRAL

# Fields of transformers' GenerationConfig that change no token of one answer of a decoder.
HARMLESS = {
    *("bos_token_id", "pad_token_id", "decoder_start_token_id", "is_assistant", "use_mtp"),
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len"),
    *("compile_config", "disable_compile", "continuous_batching_config", "speculation_type"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("return_dict_in_generate", "renormalize_logits", "remove_invalid_values"),
    *("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
    *("prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit"),
    *("assistant_lookbehind", "target_lookbehind", "transformers_version"),
    *("assistant_ensemble_weight", "low_memory", "prefill_chunk_size"),
}
APPLIED = {
    *(
        "do_sample",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "suppress_tokens",
        "begin_suppress_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "stop_strings",
        "eos_token_id",
        "num_beams",
        "early_stopping",
        "length_penalty",
        "bad_words_ids",
        "forced_eos_token_id",
    ),
    *("max_new_tokens", "max_length", "min_new_tokens", "min_length"),
}


def config(**content: Any) -> GenerationConfig:
    return GenerationConfig.parse(content, name="generation_config.json")


def completed(content: dict[str, Any], *, num_prompt_tokens: int = 3, **given: Any) -> Any:
    params = SamplingParams.open_to_model(**given)
    return config(**content).complete(params, num_prompt_tokens=num_prompt_tokens)


def refusal(**content: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        config(**content)
    return str(caught.value)


def test_a_model_that_samples_gives_its_temperature_and_filters() -> None:
    said = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.05}
    assert completed(said) == SamplingParams(temperature=0.6, top_p=0.9, top_k=20, min_p=0.05)


def test_a_repetition_penalty_is_applied_with_and_without_sampling() -> None:
    assert completed({"repetition_penalty": 1.2}) == SamplingParams(repetition_penalty=1.2)
    sampled = completed({"repetition_penalty": 1, "do_sample": True}, repetition_penalty=1.5)
    assert sampled.repetition_penalty == 1.5


def test_beams_are_searched_where_a_caller_leaves_room_for_them() -> None:
    said = {"num_beams": 4, "length_penalty": 0.6, "early_stopping": True}
    assert completed(said) == SamplingParams(beam_width=4, length_penalty=0.6, early_stopping=True)
    assert completed(said, beam_width=2).beam_width == 2
    for given in ({"temperature": 0.7}, {"n": 5}, {"guide": Guide.json()}):
        assert completed(said, **given) == SamplingParams(**given)
    assert completed({"num_beams": 1, "length_penalty": 0.6}) == SamplingParams()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"do_sample": True}, {"num_beams": 4}),
        ({"early_stopping": "never"}, {"early_stopping": "never"}),
    ],
)
def test_beams_that_are_drawn_or_never_end_early_are_named(
    more: dict[str, Any], named: dict[str, Any]
) -> None:
    asked = config(num_beams=4, **more)
    assert dict(asked.not_applied) == named
    assert "beam_width" not in asked.sampling


def test_a_penalty_that_an_engine_cannot_apply_is_named_and_left_out() -> None:
    asked = config(repetition_penalty=1.1, min_p=0.1)
    plan = made_engine.plan()
    assert asked.for_plan(plan) is asked
    record = TensorRTRecord(
        library="tensorrt",
        version="10.0",
        gpus=("sm89",),
        prefill_length=8,
        num_candidates=4,
        full_logits=False,
    )
    on_gpu = plan.model_copy(update={"target": "tensorrt", "tensorrt": record})
    without = asked.for_plan(on_gpu)
    assert (dict(without.sampling), dict(without.not_applied)) == (
        {"min_p": 0.1},
        {"repetition_penalty": 1.1},
    )
    neutral = config(repetition_penalty=1.0).for_plan(on_gpu)
    assert neutral.warning() is None
    whole = record.model_copy(update={"full_logits": True})
    assert asked.for_plan(on_gpu.model_copy(update={"tensorrt": whole})) is asked


def test_a_model_that_samples_and_names_no_top_k_has_that_of_transformers() -> None:
    assert completed({"do_sample": True}) == SamplingParams(temperature=1.0, top_k=50)


def test_a_model_that_does_not_sample_is_greedy_whatever_its_temperature() -> None:
    assert completed({"do_sample": False, "temperature": 0.6}).temperature == 0.0
    assert completed({"temperature": 0.6}).temperature == 0.0


def test_what_the_caller_says_goes_first_and_the_rest_is_filled_in() -> None:
    said = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 7}
    params = completed(said, temperature=0.0, max_tokens=5)
    assert params == SamplingParams(temperature=0.0, top_p=0.9, top_k=50, max_tokens=5)


def test_sampling_params_that_say_everything_are_left_alone() -> None:
    whole = SamplingParams(max_tokens=9)
    assert config(do_sample=True).complete(whole, num_prompt_tokens=3) is whole


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ({"max_new_tokens": 7}, (7, 0)),
        ({"max_length": 10}, (7, 0)),
        ({"max_length": 10, "max_new_tokens": 4}, (4, 0)),
        ({"max_new_tokens": 7, "min_new_tokens": 2}, (7, 2)),
        ({"max_new_tokens": 7, "min_length": 5}, (7, 2)),
        ({"max_new_tokens": 7, "min_length": 2}, (7, 0)),
    ],
)
def test_lengths_with_a_prompt_of_three_tokens(
    said: dict[str, Any], tokens: tuple[int, int]
) -> None:
    params = completed(said)
    assert (params.max_tokens, params.min_tokens) == tokens


def test_a_length_of_the_caller_bounds_that_of_the_model() -> None:
    assert completed({"min_new_tokens": 5}, max_tokens=2).min_tokens == 2
    assert completed({"max_new_tokens": 5}, min_tokens=8).max_tokens == 8


def test_a_prompt_as_long_as_max_length_needs_a_max_tokens() -> None:
    with pytest.raises(InvalidRequestError, match=r"has 10 tokens, and max_length .* is 10"):
        completed({"max_length": 10}, num_prompt_tokens=10)
    assert completed({"max_length": 10}, num_prompt_tokens=10, max_tokens=3).max_tokens == 3


def test_stop_strings_are_stop() -> None:
    assert completed({"stop_strings": "END"}).stop == ("END",)
    assert completed({"stop_strings": ["a", "b"]}).stop == ("a", "b")
    assert completed({"stop_strings": ["a"]}, stop="c").stop == ("c",)


def test_a_top_p_of_zero_takes_the_likeliest_token_and_one_above_one_all() -> None:
    assert completed({"do_sample": True, "top_p": 0.0}).temperature == 0.0
    assert completed({"do_sample": True, "top_p": 1.5}).top_p == 1.0


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_what_is_not_applied_is_named_and_its_neutral_values_are_not(name: str) -> None:
    assert config(**{name: None}).warning() is None
    for value in NEUTRAL[name]:
        assert config(**{name: value}).warning() is None
    found = config(**{name: [[7, 9]]})
    assert dict(found.not_applied) == {name: [[7, 9]]}
    assert f"asks for {name} [[7, 9]], which is not supported yet" in str(found.warning())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", -1.0),
        ("top_k", 2.5),
        ("top_k", -1),
        ("top_p", -0.1),
        ("top_p", "0.9"),
        ("min_p", 2),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", "much"),
        ("max_new_tokens", 0),
        ("max_new_tokens", True),
        ("max_length", 2**31),
        ("min_length", -1),
        ("stop_strings", [""]),
        ("stop_strings", [3]),
        ("stop_strings", 3),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(name: str, value: Any) -> None:
    message = refusal(do_sample=True, **{name: value})
    assert "generation_config.json: " in message
    assert {"stop_strings": "stop"}.get(name, name) in message
    assert "\n" not in message


@pytest.mark.parity
def test_every_field_of_transformers_is_applied_named_or_harmless() -> None:
    import needs_torch  # noqa: F401
    import transformers

    fields = {n for n in transformers.GenerationConfig().to_dict() if not n.startswith("_")}
    fields |= {n for n in vars(transformers.GenerationConfig()) if not n.startswith("_")}
    unclassified = fields - APPLIED - HARMLESS - NEUTRAL.keys()
    assert not unclassified


def checkpoint(tiny_llama: Path, directory: Path, name: str, **content: Any) -> Path:
    """The tiny checkpoint with a generation_config.json, or with fields in its config.json."""
    shutil.copytree(tiny_llama, directory)
    path = directory / name
    before = parse_json_object(path.read_bytes(), name=name) if path.exists() else {}
    path.write_text(json.dumps({**before, **content}))
    return directory


@pytest.mark.parity
@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_tokens_are_those_of_transformers(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import needs_torch  # noqa: F401
    import torch
    import transformers

    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    path = checkpoint(tiny_llama, tmp_path / "model", name, max_length=17, do_sample=False)
    network = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    ids = transformers.AutoTokenizer.from_pretrained(path)("Hello", return_tensors="pt")[
        "input_ids"
    ]
    theirs = network.generate(ids, attention_mask=torch.ones_like(ids))[0, 5:].tolist()
    with LLM(path, precision="f32", num_threads=1) as llm:
        (answer,) = llm.generate(["Hello"])
    assert len(answer.token_ids) == 12
    assert list(answer.token_ids) == theirs


def test_an_engine_applies_it_and_warns_once_of_what_it_cannot(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    said = {"max_new_tokens": 3, "encoder_no_repeat_ngram_size": 2}
    path = checkpoint(tiny_llama, tmp_path / "model", "generation_config.json", **said)
    with caplog.at_level(logging.WARNING), LLM(path, precision="f32", num_threads=1) as llm:
        assert llm.generate(["a"], ignore_eos=True)[0].usage.num_output_tokens == 3
        assert (
            llm.generate(["a"], SamplingParams(max_tokens=5, ignore_eos=True))[
                0
            ].usage.num_output_tokens
            == 5
        )
    assert [record.getMessage() for record in caplog.records] == [
        "generation_config.json asks for encoder_no_repeat_ngram_size 2, which is not supported "
        "yet: answers can differ from those of transformers"
    ]
    caplog.clear()
    with (
        caplog.at_level(logging.WARNING),
        LLM(path, precision="f32", num_threads=1, generation_config="none") as llm,
    ):
        assert llm.generate(["a"], ignore_eos=True)[0].usage.num_output_tokens == 128
    assert not caplog.records


def test_a_build_refuses_a_file_with_values_that_make_no_sense(
    tiny_llama: Path, tmp_path: Path
) -> None:
    from llmasos_builder.build import BuildOptions, build

    path = checkpoint(tiny_llama, tmp_path / "model", "generation_config.json", top_k="many")
    with pytest.raises(CheckpointError, match="top_k must be an integer, got 'many'"):
        build(path, tmp_path / "built", BuildOptions(precision="f32"))


def test_tokens_that_must_not_come_and_the_last_one_are_read() -> None:
    found = config(bad_words_ids=[[58100], [3, 4]], forced_eos_token_id=[2])
    assert (found.bad_words, found.forced_eos_token_id) == (((58100,), (3, 4)), 2)
    assert found.warning() is None
    for name, value in (
        ("bad_words_ids", [3]),
        ("bad_words_ids", [[]]),
        ("bad_words_ids", [[-1]]),
        ("forced_eos_token_id", "x"),
        ("forced_eos_token_id", -2),
    ):
        with pytest.raises(CheckpointError, match=f"generation_config.json: {name} must be"):
            config(**{name: value})


def test_what_a_task_recommends_comes_before_what_the_model_does() -> None:
    of_task = config(num_beams=4, max_length=9)
    both = of_task.over(config(num_beams=2, no_repeat_ngram_size=3, min_length=1))
    params = both.complete(SamplingParams.open_to_model(), num_prompt_tokens=1)
    assert (params.beam_width, params.no_repeat_ngram_size, params.max_tokens) == (4, 3, 8)
