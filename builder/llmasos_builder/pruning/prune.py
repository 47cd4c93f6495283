"""Makes a smaller checkpoint out of another: narrower MLPs, fewer heads, fewer layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import InvalidRequestError, UnsupportedArchitectureError
from llmasos.progress import Progress
from llmasos.text.tokenizer import Tokenizer
from numpy.typing import NDArray

from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import check_tensors
from llmasos_builder.atomic_directory import atomic_directory
from llmasos_builder.checkpoint import Checkpoint, open_checkpoint
from llmasos_builder.pruning.cuts import Cuts, Kept, attention_cuts, mlp_cuts
from llmasos_builder.pruning.importance import Importance, measure_importance
from llmasos_builder.pruning.sizes import PruneOptions, Sizes, pruned_sizes, sizes_of


def prune(
    checkpoint: Checkpoint, text: str, output: Path, options: PruneOptions, progress: Progress
) -> Sizes:
    """Write a Hugging Face directory, in float32, and return its sizes.

    Raises UnsupportedArchitectureError where layers are not Llama's, InvalidRequestError if the
    text is too short, PlanError if the output is in the way or the disk is full; nothing is left
    then.
    """
    before = sizes_of(checkpoint)
    after = pruned_sizes(before, options)
    network = decoder_spec(checkpoint.config)
    check_tensors(network, checkpoint.weights)
    with atomic_directory(output, may_replace=lambda _: False) as directory:
        for name, content in checkpoint.tokenizer_files.items():
            (directory / name).write_bytes(content)
        windows = _windows(Tokenizer.load(directory), text, options)
        importance = measure_importance(network, checkpoint.weights, windows, progress)
        cuts = _cuts(importance, before, after)
        cuts.write(directory / "model.safetensors", checkpoint.weights)
        config = _config(checkpoint, cuts.layers, after)
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        written = open_checkpoint(str(directory))
        check_tensors(decoder_spec(written.config), written.weights)
    return after


def _cuts(importance: Importance, before: Sizes, after: Sizes) -> Cuts:
    axes: dict[str, tuple[int, Kept]] = {}
    for index in range(before.num_layers):
        prefix = f"model.layers.{index}"
        if after.width < before.width:
            energy = importance.inputs[f"{prefix}.mlp.down_proj.weight"]
            axes |= mlp_cuts(prefix, energy, after.width)
        if after.num_kv_heads < before.num_kv_heads:
            axes |= attention_cuts(
                prefix,
                _attention_energy(importance, prefix),
                num_groups=before.num_kv_heads,
                kept_groups=after.num_kv_heads,
                head_dim=before.head_dim,
            )
    if after.num_layers < before.num_layers and len(importance.layers) != before.num_layers:
        raise UnsupportedArchitectureError("layers are left out only where each begins with a norm")
    order = np.argsort(-importance.layers, kind="stable")[: after.num_layers]
    all_layers = np.arange(before.num_layers)
    layers = np.sort(order) if after.num_layers < before.num_layers else all_layers
    return Cuts(axes=axes, layers=layers)


def _attention_energy(importance: Importance, prefix: str) -> NDArray[np.float64]:
    energy = importance.inputs.get(f"{prefix}.self_attn.o_proj.weight")
    if energy is None:
        raise UnsupportedArchitectureError("kv-heads are pruned only where attention has o_proj")
    return energy


def _config(checkpoint: Checkpoint, layers: Kept, after: Sizes) -> dict[str, Any]:
    config = {
        **checkpoint.config,
        "intermediate_size": after.width,
        "num_attention_heads": after.num_heads,
        "num_key_value_heads": after.num_kv_heads,
        "head_dim": after.head_dim,
        "num_hidden_layers": after.num_layers,
        "torch_dtype": "float32",
    }
    if isinstance(kinds := config.get("layer_types"), list):
        config["layer_types"] = [kinds[index] for index in layers.tolist()]
    return config


def _windows(tokenizer: Tokenizer, text: str, options: PruneOptions) -> list[NDArray[np.int64]]:
    length, wanted = options.seq_length, options.num_windows * options.seq_length
    ids = np.array(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)
    if len(ids) < wanted:
        raise InvalidRequestError(
            f"the dataset has {len(ids)} tokens, {options.num_windows} samples of {length} need "
            f"{wanted}"
        )
    return list(ids[:wanted].reshape(options.num_windows, length))
