"""How fast texts become vectors, beside sentence-transformers and ONNX Runtime:

    python -m benchmarks.embedding CHECKPOINT TEXTS [--pairs PAIRS.csv]

CHECKPOINT: a directory that sentence-transformers reads. TEXTS: a file with a text a line. All run
in each round, the first one alternating, so that other work on the machine meets all. It needs
`pip install sentence-transformers onnxruntime onnx onnxscript`; ONNX Runtime is given its own
dynamic int8 of the exported network, and batches of texts sorted by length, as
sentence-transformers makes them. With PAIRS (two texts and a score a line) it prints Spearman's
correlation of the cosine with the score as well.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llmasos import LLM
from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
_BATCH = 32


def of_llmasos(checkpoint: str, precision: Any, threads: int) -> Embed:
    """The compiled engine in this process."""
    return LLM(checkpoint, precision=precision, num_threads=threads).embed


def of_sentence_transformers(checkpoint: str, threads: int) -> Embed:
    """torch, in float32."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(checkpoint, device="cpu")

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.encode(list(texts), batch_size=_BATCH)
        return found

    return embed


def of_onnx_runtime(checkpoint: str, threads: int, *, int8: bool) -> Embed:
    """ONNX Runtime over an export of the network, mean pooling and unit length in numpy."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    network = AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    directory = Path(tempfile.mkdtemp())
    path = directory / "network.onnx"
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tokenizer(["a text", "another one"], return_tensors="pt")

    class Hidden(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            return self.network(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]

    torch.onnx.export(
        Hidden(),
        tuple(example[name] for name in names),
        path,
        input_names=names,
        output_names=["hidden"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in (*names, "hidden")},
        dynamo=False,
    )
    if int8:
        quantize_dynamic(path, directory / "int8.onnx", weight_type=QuantType.QInt8)
        path = directory / "int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        rows: list[Any] = [None] * len(texts)
        for at in range(0, len(order), _BATCH):
            some = order[at : at + _BATCH]
            inputs = tokenizer(
                [texts[i] for i in some], padding=True, truncation=True, return_tensors="np"
            )
            (hidden,) = session.run(None, {name: inputs[name] for name in names})
            mask = inputs["attention_mask"][..., None]
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
            for index, row in zip(some, pooled, strict=True):
                rows[index] = row
        return np.stack(rows)

    return embed


def spearman(embed: Embed, pairs: Path) -> float:
    """Spearman's correlation of the cosines of pairs with their scores."""
    with pairs.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if len(row) == 3]
    first, second = (embed([row[i] for row in rows]) for i in (0, 1))
    cosines, scores = (first * second).sum(1), np.array([float(row[2]) for row in rows])
    return float(np.corrcoef(_ranks(cosines), _ranks(scores))[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[Any]:
    """Ranks, of which equal values share the mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[Any] = (ends - (counts - 1) / 2)[inverse]
    return ranks


def main() -> None:
    """Print texts a second of each, the median of the rounds, and its ratio to the first peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    texts = chosen.texts.read_text(encoding="utf-8").splitlines()[: chosen.count]
    kinds: dict[str, Embed] = {
        "sentence-transformers f32": of_sentence_transformers(chosen.checkpoint, chosen.threads),
        "ONNX Runtime f32": of_onnx_runtime(chosen.checkpoint, chosen.threads, int8=False),
        "ONNX Runtime int8": of_onnx_runtime(chosen.checkpoint, chosen.threads, int8=True),
        "LLMasOS f32": of_llmasos(chosen.checkpoint, "f32", chosen.threads),
        "LLMasOS bf16": of_llmasos(chosen.checkpoint, "bf16", chosen.threads),
        "LLMasOS int8": of_llmasos(chosen.checkpoint, "int8", chosen.threads),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(chosen.rounds + 1):
        names = list(kinds)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begun = time.perf_counter()
            kinds[name](texts)
            if number:  # the first round warms up
                rates[name].append(len(texts) / (time.perf_counter() - begun))
    base = statistics.median(next(iter(rates.values())))
    for name, found in rates.items():
        rate = statistics.median(found)
        said = f" Spearman {spearman(kinds[name], chosen.pairs):.4f}" if chosen.pairs else ""
        print(f"{name:28} {rate:7.0f} texts/s {rate / base:5.2f}x{said}", flush=True)


if __name__ == "__main__":
    main()
