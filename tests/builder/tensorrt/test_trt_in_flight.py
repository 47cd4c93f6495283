"""Rows of a step do not touch each other, whatever shares it, and what it returns suffices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llmasos_builder.graph import AttentionScores
from llmasos_builder.tensorrt.interpreter import InterpretationError, InterpretedNetwork, Row
from llmasos_builder.tensorrt.network import TensorRTGraph
from networks import NETWORKS
from parity import Network, make_network
from trt_models import (
    MAX_SEQ_LEN,
    check_in_flight,
    defined,
    engine,
    options,
    run_in_flight,
    sequences,
    trt,
    with_blocks,
    with_rounded_weights,
)


class ByLengths(TensorRTGraph):
    """Masked in the other way: each row's length, and causality from its end."""

    def __init__(self) -> None:
        super().__init__(trt, options("fp16"))
        self._lengths = self.definition.add_input("key_value_lengths", trt.int32, (-1,))

    def cached_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        *,
        scores: AttentionScores,
        distance_bias: Any = None,
    ) -> Any:
        self.refuse_distances(distance_bias)
        attention = self._attention
        layer = self.definition.add_attention_v2(
            attention._scaled(query, scores.scale),
            attention._extend("key", key),
            attention._extend("value", value),
            trt.AttentionNormalizationOp.SOFTMAX,
            trt.CausalMaskKind.LOWER_RIGHT,
        )
        layer.key_value_lengths = self._lengths
        attention._num_layers += 1
        return layer.get_output(0)


@pytest.fixture(scope="module", params=["llama-8-gqa", "gpt2-16"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    kind, config = NETWORKS[request.param]
    return make_network(tmp_path_factory.mktemp("made"), with_blocks(config), kind=kind)


@pytest.fixture
def model(network: Network) -> InterpretedNetwork:
    return engine(defined(network, "fp16"), rounding=False)


def row(slot: int, computed: int, count: int) -> Row:
    tokens = np.random.default_rng(slot).integers(0, 300, computed + count).tolist()
    return Row(slot=slot, num_computed_tokens=computed, token_ids=tokens[computed:])


def test_rows_that_stand_idle_between_others_change_nothing(
    network: Network, model: InterpretedNetwork
) -> None:
    check_in_flight(model, with_rounded_weights(network, "fp16"), idle_rows=True)


def test_both_ways_to_mask_compute_the_same(network: Network) -> None:
    graph = defined(network, "fp16", ByLengths())
    check_in_flight(engine(graph, rounding=False), with_rounded_weights(network, "fp16"))


def test_a_step_writes_its_rows_slots_from_their_index_on_and_nothing_else(
    model: InterpretedNetwork,
) -> None:
    model.step([row(0, 0, 5), row(1, 0, 7), row(2, 0, 3)])
    before = {name: cache.copy() for name, cache in model.caches.items()}
    model.step([row(0, 5, 1), row(2, 3, 4)])
    for name, cache in model.caches.items():
        changed = (cache != before[name]).any(axis=(1, 3))
        assert not changed[1].any()
        # The decoding row is padded to the four tokens of the other, behind its own.
        assert {5} <= set(np.flatnonzero(changed[0]).tolist()) <= {5, 6, 7, 8}
        assert set(np.flatnonzero(changed[2]).tolist()) == {3, 4, 5, 6}


def test_a_row_computes_the_same_in_any_company(model: InterpretedNetwork) -> None:
    model.step([row(0, 0, 5), row(1, 0, 7)])
    caches = {name: cache.copy() for name, cache in model.caches.items()}
    alone = model.step([row(1, 7, 1)])["logits"][0]
    for name, cache in caches.items():
        model.caches[name][...] = cache
    together = model.step([row(2, 0, 9), row(0, 5, 3), row(1, 7, 1)])["logits"][2]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_what_an_earlier_sequence_left_in_a_slot_is_not_seen(model: InterpretedNetwork) -> None:
    first = model.step([row(0, 0, 5)])["logits"]
    model.step([Row(slot=0, num_computed_tokens=0, token_ids=list(range(30)))])
    again = model.step([row(0, 0, 5)])["logits"]
    assert np.array_equal(first, again)


def test_candidates_and_log_sum_exp_are_those_of_the_full_logits(
    network: Network,
) -> None:
    for precision in ("fp16", "bf16"):
        outputs = engine(defined(network, precision)).step([row(0, 0, 5), row(1, 0, 7)])
        logits = outputs["logits"].astype(np.float64)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :16]
        assert np.array_equal(outputs["candidate_ids"], order)
        assert np.array_equal(
            outputs["candidate_logits"], np.take_along_axis(logits, order, axis=1)
        )
        expected = np.log(np.exp(logits - logits.max()).sum(axis=1)) + logits.max()
        np.testing.assert_allclose(outputs["log_sum_exp"][:, 0], expected, rtol=1e-6)


def test_steps_return_no_logits_unless_asked_for(network: Network) -> None:
    graph = TensorRTGraph(trt, options("fp16", full_logits=False))
    outputs = engine(defined(network, "fp16", graph)).step([row(0, 0, 5)])
    assert {name: values.shape for name, values in outputs.items()} == {
        "candidate_logits": (1, 16),
        "candidate_ids": (1, 16),
        "log_sum_exp": (1, 1),
    }


def test_sequences_that_run_alone_end_with_the_same_text(
    network: Network, model: InterpretedNetwork
) -> None:
    together = sequences(network.spec.vocab_size)
    run_in_flight(model, together)
    for index, plan in enumerate(sequences(network.spec.vocab_size)):
        run_in_flight(engine(defined(network, "fp16"), rounding=False), [plan])
        assert plan.token_ids == together[index].token_ids


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(0, 0, 3), row(0, 3, 1)], r"rows share a slot: \[0, 0\]"),
        ([row(0, MAX_SEQ_LEN - 1, 1), row(1, 0, 4)], "slot 0: 4 tokens after 63 do not fit 64"),
        ([row(0, MAX_SEQ_LEN, 1)], "slot 0: 1 tokens after 64 do not fit 64"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    model: InterpretedNetwork, rows: list[Row], problem: str
) -> None:
    with pytest.raises(InterpretationError, match=problem):
        model.step(rows)
