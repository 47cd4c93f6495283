"""How fast texts are translated, beside Hugging Face generate and CTranslate2:

    python -m benchmarks.translation [--checkpoint DIR] [--precision f32] [--beams 1]

Without a checkpoint a random network of T5-small's size is made. 64 texts of 5 to 60 tokens, and 40
tokens of each answer, greedily or by beams. Each peer is a
process; all run in each round, the first one alternating, so that other work on the machine meets
all. The printed numbers are medians. It needs `pip install
ctranslate2`; without it that peer is left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from llmasos import LLM

Translate = Callable[[], int]
NUM_TEXTS, NUM_NEW = 64, 40
_END = 1


def make_checkpoint(directory: Path) -> Path:
    """Saves a random network of T5-small's size, and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(directory)
    vocab = {f"t{i}": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="t3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "t1", "unk_token": "t3"}
    (directory / "tokenizer_config.json").write_text(json.dumps(named))
    return directory


def texts() -> list[list[int]]:
    """Token ids, each ending with the end token."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(5, 60, NUM_TEXTS)
    return [[*draw.integers(4, 32000, length).tolist(), _END] for length in lengths]


def of_llmasos(checkpoint: Path, precision: Any, beams: int, threads: int) -> Translate:
    """The compiled engine in this process."""
    llm = LLM(checkpoint, precision=precision, num_threads=threads)
    given = texts()

    def run() -> int:
        fields: Any = {"ignore_eos": True} if beams == 1 else {"min_tokens": NUM_NEW}
        answers = llm.generate_from_tokens(
            given, max_tokens=NUM_NEW, temperature=0.0, beam_width=beams, **fields
        )
        return sum(len(answer.token_ids) for answer in answers)

    return run


def of_transformers(checkpoint: Path, beams: int, threads: int) -> Translate:
    """generate over one padded batch, in float32."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.set_num_threads(threads)
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    given = texts()
    longest = max(map(len, given))
    ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in given])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in given])

    def run() -> int:
        found = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=NUM_NEW,
            min_new_tokens=NUM_NEW,
            do_sample=False,
            num_beams=beams,
        )
        return int(found[:, 1:].numel())

    return run


def of_ctranslate2(checkpoint: Path, kind: str, beams: int, threads: int) -> Translate:
    """CTranslate2 over its own conversion. kind: its compute type."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    directory = tempfile.mkdtemp()
    TransformersConverter(str(checkpoint)).convert(directory, force=True)
    path = Path(directory) / "config.json"
    config = json.loads(path.read_text())
    for name, token in (("bos", "t0"), ("eos", "t1"), ("unk", "t3")):
        config[f"{name}_token"] = config.get(f"{name}_token") or token
    path.write_text(json.dumps(config))
    translator = ctranslate2.Translator(
        directory, device="cpu", inter_threads=1, intra_threads=threads, compute_type=kind
    )
    words = [[f"t{i}" for i in text] for text in texts()]

    def run() -> int:
        found = translator.translate_batch(
            words,
            max_batch_size=NUM_TEXTS,
            beam_size=beams,
            max_decoding_length=NUM_NEW,
            min_decoding_length=NUM_NEW,
        )
        return sum(len(one.hypotheses[0]) for one in found)

    return run


class Peer:
    """A translator in a process of its own, so that no other's threads disturb it."""

    def __init__(self, make: Callable[..., Translate], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        self._connection.recv()  # it is warm

    def rate(self) -> float:
        """The new tokens in a second of one run."""
        self._connection.send(True)
        found: float = self._connection.recv()
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(connection: Any, make: Callable[..., Translate], arguments: tuple[Any, ...]) -> None:
    run = make(*arguments)
    run()
    connection.send(True)
    while connection.recv():
        began = time.perf_counter()
        count = run()
        connection.send(count / (time.perf_counter() - began))


def measured(peers: dict[str, Peer], rounds: int) -> dict[str, float]:
    """Returns the median of the tokens in a second of each."""
    rates: dict[str, list[float]] = {name: [] for name in peers}
    names = list(peers)
    for index in range(rounds):
        first = index % len(names)
        for name in (*names[first:], *names[:first]):
            rates[name].append(peers[name].rate())
    return {name: statistics.median(found) for name, found in rates.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--precision", action="append")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    checkpoint = chosen.checkpoint or make_checkpoint(Path(tempfile.mkdtemp()))
    beams, threads = chosen.beams, chosen.threads
    peers = {"Hugging Face generate, float32": Peer(of_transformers, checkpoint, beams, threads)}
    if find_spec("ctranslate2") is not None:
        for kind in ("float32", "int8"):
            peers[f"CTranslate2, {kind}"] = Peer(of_ctranslate2, checkpoint, kind, beams, threads)
    for precision in chosen.precision or ("f32", "int8"):
        peers[f"LLMasOS, {precision}"] = Peer(of_llmasos, checkpoint, precision, beams, threads)
    rates = measured(peers, chosen.rounds)
    for peer in peers.values():
        peer.close()
    base = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"{name:32} {rate:8.0f} tokens/s  {rate / base:5.2f}x")


if __name__ == "__main__":
    main()
