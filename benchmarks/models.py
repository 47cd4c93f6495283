"""One checkpoint in the form that each peer loads, all from the same weights."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import Precision
from llmasos_builder.build import BuildOptions, build, build_plan
from llmasos_builder.checkpoint import Checkpoint, open_checkpoint
from safetensors.numpy import save_file

from benchmarks.catalogue import ModelForm
from benchmarks.environments import MissingPeerError, run_or_miss
from benchmarks.gguf_file import write_q8_0_gguf


class Models:
    """Makes each form when it is first asked for, in a directory named after the weights.

    The plan is built anew each time, so that what is measured is the code of today; the
    other forms are kept.
    """

    def __init__(self, source: str, *, directory: Path, precision: Precision) -> None:
        self._source = source
        self._precision: Precision = precision
        self._root = directory
        self.build_s: float | None = None

    def path(self, form: ModelForm, *, python: Path) -> Path:
        """Where a peer finds its model. python: of the peer's environment, for ONNX."""
        if form is ModelForm.ONNX:
            return self._onnx(python)
        makers: dict[ModelForm, Callable[[], Path]] = {
            ModelForm.REPOSITORY: lambda: self.repository,
            ModelForm.PLAN: lambda: self.repository / PLAN_IN_REPOSITORY,
            ModelForm.OPENVINO_PLAN: lambda: self._openvino_plan,
            ModelForm.OPENVINO_IR: lambda: self._openvino,
            ModelForm.GGUF: lambda: self._gguf,
            ModelForm.HUGGING_FACE: lambda: self._hugging_face,
        }
        return makers[form]()

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return open_checkpoint(self._source)

    @cached_property
    def repository(self) -> Path:
        """The Triton model repository with the plan inside its engine."""
        path = self._directory / f"repository-{self._precision}"
        shutil.rmtree(path, ignore_errors=True)
        start = time.perf_counter()
        build(self._source, path, BuildOptions(precision=self._precision))
        self.build_s = time.perf_counter() - start
        return path

    @cached_property
    def _openvino(self) -> Path:
        """A directory with links to the plan's own IR, the whole of what GenAI needs."""
        path = self._directory / f"openvino-{self._precision}"
        path.mkdir(exist_ok=True)
        for name in ("openvino_model.xml", "openvino_model.bin"):
            link = path / name
            link.unlink(missing_ok=True)
            link.symlink_to(self._openvino_plan / name)
        return path

    @cached_property
    def _openvino_plan(self) -> Path:
        """The plan of target openvino, whatever the product chooses on this machine."""
        path = self._directory / f"plan-openvino-{self._precision}"
        shutil.rmtree(path, ignore_errors=True)
        build_plan(self._source, path, BuildOptions(target="openvino", precision=self._precision))
        return path

    @cached_property
    def _hugging_face(self) -> Path:
        path = self._directory / "hugging-face"
        weights = path / "model.safetensors"
        if not weights.is_file():
            path.mkdir(exist_ok=True)
            (path / "config.json").write_text(json.dumps(self.checkpoint.config))
            for name, content in self.checkpoint.tokenizer_files.items():
                (path / name).write_bytes(content)
            source = self.checkpoint.weights
            tensors = {name: source.load(name) for name in sorted(source.names())}
            save_file(tensors, weights, metadata={"format": "pt"})
        return path

    @cached_property
    def _gguf(self) -> Path:
        path = self._directory / "model-q8_0.gguf"
        if not path.is_file():
            partial = path.with_suffix(".partial")
            try:
                write_q8_0_gguf(self.checkpoint.config, self.checkpoint.weights, partial)
            except ValueError as error:
                raise MissingPeerError(str(error)) from error
            partial.rename(path)
        return path

    def _onnx(self, python: Path) -> Path:
        path = self._directory / "onnx-int8"
        if not (path / "genai_config.json").is_file():
            builder = [str(python), "-m", "onnxruntime_genai.models.builder"]
            source = ["-i", str(self._hugging_face), "-m", self.checkpoint.name]
            target = ["-o", str(path), "-p", "int8", "-e", "cpu", "-c", str(path / "cache")]
            # The fastest of those tried: logits of the last position alone, and larger blocks.
            tied = str(bool(self.checkpoint.config.get("tie_word_embeddings"))).lower()
            extra = ["prune_lm_head=true", "block_size=128", f"shared_embeddings={tied}"]
            command = [*builder, *source, *target, "--extra_options", *extra]
            run_or_miss(command, variables={"HF_HUB_OFFLINE": "1"})
        return path

    @cached_property
    def _directory(self) -> Path:
        path = self._root / f"{self.checkpoint.name}-{self.checkpoint.sha256()[:12]}"
        path.mkdir(parents=True, exist_ok=True)
        return path
