"""Teacher and student as networks of torch, from checkpoints in any form, and back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.files.json_file import read_json_object
from llmasos.text.tokenizer import Tokenizer

from llmasos_builder.checkpoint import Checkpoint
from llmasos_builder.checkpoint.huggingface.safetensors_file import write_safetensors
from llmasos_builder.distillation.libraries import load_torch, load_transformers
from llmasos_builder.graph import Array

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def is_config_alone(path: Path) -> bool:
    """Whether a directory has a config.json and no weights: a student that is yet to be drawn."""
    return (path / "config.json").is_file() and not any(
        any(path.glob(pattern)) for pattern in _WEIGHTS
    )


def load_network(checkpoint: Checkpoint) -> Any:
    """Returns the network in float32, of whichever form the checkpoint is in.

    Raises CheckpointError, which names the tensor, where a weight is not finite.
    """
    with tempfile.TemporaryDirectory(prefix="llmasos-distill-") as name:
        directory = Path(name)
        _write_dense(checkpoint, directory)
        return load_transformers().AutoModelForCausalLM.from_pretrained(
            directory, dtype=load_torch().float32
        )


def draw_network(config_file: Path, seed: int) -> Any:
    """Returns a network of a config.json with weights as its family begins with."""
    library, torch = load_transformers(), load_torch()
    config = library.AutoConfig.from_pretrained(config_file.parent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return library.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def write_network(network: Any, config: dict[str, Any], directory: Path) -> None:
    """Write weights in float32 and config.json; the config says what it said before training."""
    network.save_pretrained(directory)
    content = {**config, "torch_dtype": "float32"}
    (directory / "config.json").write_text(json.dumps(content, indent=2) + "\n")


def check_vocabularies(teacher: Checkpoint, student: Tokenizer, student_size: int) -> None:
    """Raises InvalidRequestError, naming a token, unless both have the same tokens."""
    with tempfile.TemporaryDirectory(prefix="llmasos-distill-") as name:
        ours, theirs = _tokens(load_tokenizer(teacher, Path(name))), _tokens(student)
    for token, index in ours.items():
        if theirs.get(token) != index:
            other = theirs.get(token, "no token")
            raise InvalidRequestError(
                f"the tokenizer of the student differs: {token!r} is {other}, the teacher's {index}"
            )
    if len(theirs) != len(ours):
        raise InvalidRequestError(
            f"the tokenizer of the student has {len(theirs)} tokens, the teacher's {len(ours)}"
        )
    size = teacher.config.get("vocab_size")
    if size != student_size:
        raise InvalidRequestError(f"vocab_size of the student is {student_size}, must be {size}")


def load_tokenizer(checkpoint: Checkpoint, directory: Path) -> Tokenizer:
    """Writes the tokenizer's files into a directory and reads them there."""
    for name, content in checkpoint.tokenizer_files.items():
        (directory / name).write_bytes(content)
    return Tokenizer.load(directory)


def _tokens(tokenizer: Tokenizer) -> dict[str, int]:
    content = json.loads(tokenizer.to_json())
    vocabulary = content["model"].get("vocab", {})
    if isinstance(vocabulary, list):  # Unigram: pairs of a token and its score
        vocabulary = {pair[0]: index for index, pair in enumerate(vocabulary)}
    return {**vocabulary, **{t["content"]: t["id"] for t in content.get("added_tokens", [])}}


def _write_dense(checkpoint: Checkpoint, directory: Path) -> None:
    weights = checkpoint.weights

    def load(name: str) -> Array:
        values = np.asarray(weights.load(name)).astype("<f4")
        if not np.isfinite(values).all():
            raise CheckpointError(f"{checkpoint.source}: {name} has values that are not finite")
        return values

    entries = {name: ("F32", tuple(weights.shape(name))) for name in sorted(weights.names())}
    write_safetensors(directory / "model.safetensors", entries, load)
    config = {k: v for k, v in checkpoint.config.items() if k != "quantization_config"}
    (directory / "config.json").write_text(json.dumps(config))


def config_of(path: Path) -> dict[str, Any]:
    """Content of a config.json. Raises CheckpointError where it is none."""
    return dict(read_json_object(path))
