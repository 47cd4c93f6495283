"""Each fact of an encoder-decoder's description changes its values, so parity needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_decoder_networks import write_encoder_decoder
from llmasos.sampling import SamplingParams
from llmasos_builder import build as build_module
from llmasos_builder.architectures import network_of
from llmasos_builder.architectures.encoder.distance_buckets import distance_buckets
from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.build import build_plan
from llmasos_builder.options import BuildOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request, Update
from numpy.typing import NDArray

TEXT = (5, 6, 7, 20, 31, 44, 9, 12, 13, 2)
OPTIONS = BuildOptions(precision="f32", target="openvino")
Mutation = Callable[[EncoderDecoder], EncoderDecoder]


def _without(part: str, name: str) -> Mutation:
    def mutate(spec: EncoderDecoder) -> EncoderDecoder:
        stack = replace(getattr(spec.names, part), **{name: None})
        return replace(spec, names=replace(spec.names, **{part: stack}))

    return mutate


def _shifted(spec: EncoderDecoder) -> EncoderDecoder:
    assert spec.sinusoids is not None
    return replace(spec, sinusoids=np.roll(spec.sinusoids, 1, 0))


MUTATIONS: Mapping[str, tuple[str, Mutation]] = {
    "the scale of scores": ("bart", lambda s: replace(s, attention_scale=s.attention_scale * 1.1)),
    "norms first": ("bart", lambda s: replace(s, norm_first=True)),
    "the encoder's first norm": ("bart", _without("encoder", "embedding_norm")),
    "the decoder's first norm": ("bart", _without("decoder", "embedding_norm")),
    "the head's bias": ("bart", lambda s: replace(s, names=replace(s.names, head_bias=None))),
    "the activation": ("bart", lambda s: replace(s, activation="relu")),
    "eps": ("bart", lambda s: replace(s, norm_eps=0.05)),
    "the encoder's last norm": ("m2m_100", _without("encoder", "final_norm")),
    "the decoder's last norm": ("m2m_100", _without("decoder", "final_norm")),
    "the scale of embeddings": ("m2m_100", lambda s: replace(s, embedding_scale=1.0)),
    "the sinusoids": ("m2m_100", _shifted),
    "both ways": ("t5", lambda s: replace(s, encoder_distances=_buckets(both_ways=False))),
    "one way": ("t5", lambda s: replace(s, decoder_distances=_buckets(both_ways=True))),
    "how far": ("t5", lambda s: replace(s, encoder_distances=_buckets(farthest=13))),
    "the scale of the head": ("t5", lambda s: replace(s, head_scale=1.0)),
    "the gate": ("flan-t5", lambda s: replace(s, activation="gelu")),
}


def _buckets(*, both_ways: bool = True, farthest: int = 30) -> Any:
    return distance_buckets(12, farthest=farthest, both_ways=both_ways)


def logits(plan_dir: Path) -> NDArray[np.float32]:
    engine = load_engine(plan_dir)
    updates: list[Update] = []
    try:
        done = threading.Event()

        def sink(update: Update) -> None:
            updates.append(update)
            if update.is_last:
                done.set()

        params = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True)
        engine.submit(
            Request(
                request_id="a",
                prompt_token_ids=TEXT,
                decoder_token_ids=(2, 8, 9),
                params=params,
                wants_logits=True,
            ),
            sink,
        )
        assert done.wait(60)
    finally:
        engine.close()
    return np.stack([row for update in updates for row in update.logits])


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints by their family, each written once."""

    @cache
    def written(family: str) -> Path:
        directory = tmp_path_factory.mktemp(family) / "checkpoint"
        write_encoder_decoder(directory, family)
        return directory

    return written


@cache
def values_of(checkpoint: Path) -> NDArray[np.float32]:
    """What the definition as it is computes."""
    build_plan(checkpoint, checkpoint.with_name("right"), OPTIONS)
    return logits(checkpoint.with_name("right"))


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_fact_changes_the_values(
    families: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    family, mutate = MUTATIONS[name]
    checkpoint = families(family)
    values = values_of(checkpoint)

    def wrong(config: Mapping[str, Any]) -> Any:
        network = network_of(config)
        assert isinstance(network, EncoderDecoder)
        return mutate(network)

    monkeypatch.setattr(build_module, "network_of", wrong)
    monkeypatch.setattr("llmasos_builder.architectures.tensors._check_unused", lambda *_: None)
    build_plan(checkpoint, tmp_path / "wrong", OPTIONS)
    assert np.abs(values - logits(tmp_path / "wrong")).max() > 5e-3 * np.abs(values).max()
