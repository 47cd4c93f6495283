"""From a network and its weights to a compiled engine's file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from llmasos.engine.engine_io import ENCODER_FILE
from llmasos.engine.plan import Precision

from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.architectures.network import Network
from llmasos_builder.architectures.tensor_reader import TensorReader
from llmasos_builder.architectures.tensors import check_tensors
from llmasos_builder.checkpoint import Weights
from llmasos_builder.openvino.graph import OpenVINOGraph
from llmasos_builder.openvino.packed_graph import PackedGraph


def compile_openvino(
    network: Network,
    weights: Weights,
    *,
    precision: Precision,
    output: Path,
    progress: Callable[[int, int], None],
    in_int8: Collection[str] = (),
    int4_group: int | None = None,
) -> None:
    """Writes a network as an OpenVINO IR: output (.xml), and its weights beside it (.bin).

    A network with a cache is stateful, and one without sees packed sequences. The encoder of a
    network of two parts is a file of its own beside it, and sees packed sequences.

    precision: of matrices; norms and biases are f32. in_int8: names, without `.weight`, of the
    matrices kept in int8 where int4 is asked for (`matrices_in_int8`). int4_group: most neighbours
    that share an int4 scale; None is what int4 stands for. progress: called with the
    steps done and their total; a step is a tensor that is read, or the file that is written last.
    Tensors are read one at a time, so that memory holds the engine and one more tensor.
    Raises CheckpointError for tensors that are missing, unused or of another shape.
    """
    num_steps = len(check_tensors(network, weights)) + 1
    kept = frozenset(f"{name}.weight" for name in in_int8)
    if isinstance(network, EncoderDecoder):
        # Its embedding is read for each part, and the encoder is one more file.
        reader = TensorReader(weights, progress, num_steps=num_steps + 2)
        encoder = PackedGraph(in_int8=kept, int4_group=int4_group)
        network.define_encoder(encoder, reader, precision=precision)
        encoder.save(output.with_name(ENCODER_FILE))
        reader.step()
        decoder = OpenVINOGraph(in_int8=kept, int4_group=int4_group)
        network.define_decoder(decoder, reader, precision=precision)
        decoder.save(output)
    else:
        reader = TensorReader(weights, progress, num_steps=num_steps)
        kind = PackedGraph if network.cache is None else OpenVINOGraph
        graph = kind(in_int8=kept, int4_group=int4_group)
        network.define(graph, reader, precision=precision)
        graph.save(output)
    reader.step()
