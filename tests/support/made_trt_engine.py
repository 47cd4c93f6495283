"""Engines for NVIDIA GPUs over fakes: the real network of a checkpoint, computed in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_cuda import FakeCuda
from fake_tensorrt import ENGINE, FakeLibrary
from llmasos.engine.plan import PLAN_VERSION, CheckpointRecord, EnginePlan, Limits, Precision
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.engine.weight_format import stored_weights
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.tensorrt.compile import define_network
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.options import COMPUTE_TYPES, NetworkOptions
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.tensorrt.cuda import Cuda
from llmasos_runtime.tensorrt.load import make_runner
from llmasos_runtime.tensorrt.tensorrt_runner import TensorRTRunner

SIZES: dict[str, Any] = {
    "max_batch_size": 4,
    "max_seq_len": 64,
    "prefill_length": 16,
    "num_candidates": 16,
    "full_logits": False,
}
MAX_NUM_TOKENS = 40


class MadeGPU:
    """A checkpoint's network and what runs it; changes: of SIZES."""

    def __init__(
        self, checkpoint: Path, directory: Path, *, precision: Precision = "f32", **changes: Any
    ) -> None:
        self.precision: Precision = precision
        self.sizes = SIZES | changes
        opened = open_checkpoint(str(checkpoint))
        self.spec = decoder_spec(opened.config)
        self.graph: TensorRTGraph = define_network(
            self.spec,
            lambda name, _: load_tensor(opened.weights, name),
            library=load_library(),
            options=NetworkOptions(precision=precision, **self.sizes),
        )
        self.cuda = FakeCuda()
        self.bindings = Cuda(self.cuda)
        self.library = FakeLibrary(self.cuda, self.graph)
        self.checkpoint = checkpoint
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "engine.trt").write_bytes(ENGINE)
        self.plan = self._plan()

    def _plan(self) -> EnginePlan:
        sizes = self.sizes
        return EnginePlan(
            version=PLAN_VERSION,
            name="tiny",
            target="tensorrt",
            architecture="LlamaForCausalLM",
            precision=self.precision,
            weights=stored_weights(self.precision),
            kv_cache_precision=COMPUTE_TYPES[self.precision],
            deterministic=False,
            limits=Limits(
                max_batch_size=sizes["max_batch_size"],
                max_num_tokens=MAX_NUM_TOKENS,
                max_seq_len=sizes["max_seq_len"],
            ),
            vocab_size=self.spec.vocab_size,
            num_layers=self.spec.num_layers,
            num_kv_heads=self.spec.num_kv_heads,
            head_size=self.spec.head_size,
            eos_token_ids=(),
            checkpoint=CheckpointRecord(source=str(self.checkpoint), sha256="0" * 64),
            built_with={},
            tensorrt=TensorRTRecord(
                library="tensorrt_rtx",
                version="1",
                gpus=("sm89",),
                prefill_length=sizes["prefill_length"],
                num_candidates=sizes["num_candidates"],
                full_logits=sizes["full_logits"],
            ),
            files={},
        )

    def runner(self, **options: Any) -> TensorRTRunner:
        return make_runner(
            self.plan,
            self.directory,
            EngineOptions(**options),
            library=self.library,
            cuda=self.bindings,
        )

    def engine(self, **options: Any) -> Engine:
        tokenizer = Tokenizer.load(self.checkpoint)
        return Engine.over(self.plan, tokenizer, self.runner(**options), EngineOptions(**options))
