"""Every decoder's TensorRT network computes what transformers computes, in every precision."""

from __future__ import annotations

import pytest
from family_networks import FAMILY_NETWORKS, SOFT_CAPPED_NETWORKS
from llmasos.engine.plan import Precision
from llmasos.errors import InvalidRequestError
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.graph.recording import RecordingGraph
from networks import NETWORKS
from parity import Network, make_network
from trt_models import (
    PRECISIONS,
    check_in_flight,
    defined,
    engine,
    in_type,
    with_blocks,
    with_rounded_weights,
)

ALL = NETWORKS | FAMILY_NETWORKS | SOFT_CAPPED_NETWORKS
BLOCKS = {"int4": 32, "nvfp4": 16}


@pytest.fixture(scope="module", params=ALL)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    kind, config = ALL[request.param]
    return make_network(tmp_path_factory.mktemp(request.param), with_blocks(config), kind=kind)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_interpreted_network_computes_what_transformers_does(
    network: Network, precision: Precision
) -> None:
    """Sequences join, leave and share steps; in float32 almost exactly, and rounded as well
    as transformers does in the same type."""
    if not divides(network, precision):
        with pytest.raises(InvalidRequestError, match="divide by"):
            defined(network, precision)
        return
    graph = defined(network, precision)
    reference = with_rounded_weights(network, precision)
    check_in_flight(engine(graph, rounding=False), reference)
    check_in_flight(engine(graph), reference, rounded=in_type(reference, precision))


def divides(network: Network, precision: Precision) -> bool:
    """Whether the inputs of every linear divide into the blocks that a precision needs."""
    graph = RecordingGraph()
    load = network.weights.load
    define_decoder(network.spec, graph, lambda name, _: load(name), precision=precision)
    of_kind = {
        kind: {o.weights[0] for o in graph.operations if o.kind == kind}
        for kind in ("linear", "embed_tokens")
    }
    quantized = of_kind["linear"] - of_kind["embed_tokens"]
    return all(weight.shape[1] % BLOCKS.get(precision, 1) == 0 for weight in quantized)
