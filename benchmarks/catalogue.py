"""The peers that can be compared, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

PRODUCT = "llmasos"
"""The peer that the ratios of all others refer to."""


class ModelForm(Enum):
    """What a peer loads; all are made from the weights of one checkpoint."""

    REPOSITORY = "repository"
    PLAN = "plan"
    OPENVINO_PLAN = "openvino-plan"
    OPENVINO_IR = "openvino"
    GGUF = "gguf"
    ONNX = "onnx"
    HUGGING_FACE = "hugging-face"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSpec:
    """One row of the comparison.

    weights: in words, for the table. module: has `load(settings)`.
    packages: whose versions are recorded.
    requirements: what pip installs into the peer's own environment; the product's rows
    have none and run where the coordinator runs.
    is_client: its process is only the client of a server that it starts.
    """

    name: str
    label: str
    weights: str
    module: str
    model: ModelForm
    packages: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    needs_torch: bool = False
    is_client: bool = False
    install_variables: Mapping[str, str] = field(default_factory=dict[str, str])


PEERS = (
    PeerSpec(
        name=PRODUCT,
        label="LLMasOS in process",
        weights="int8",
        module="benchmarks.peers.llmasos_engine",
        model=ModelForm.PLAN,
        packages=("llmasos", "llvmlite"),
    ),
    PeerSpec(
        name="llmasos-triton",
        label="LLMasOS through Triton gRPC",
        weights="int8, the same plan",
        module="benchmarks.peers.llmasos_triton",
        model=ModelForm.REPOSITORY,
        packages=("llmasos", "llvmlite", "nvidia-pytriton"),
        is_client=True,
    ),
    PeerSpec(
        name="llmasos-openvino",
        label="LLMasOS in process, target openvino",
        weights="int8",
        module="benchmarks.peers.llmasos_engine",
        model=ModelForm.OPENVINO_PLAN,
        packages=("llmasos", "openvino"),
    ),
    PeerSpec(
        name="openvino-genai",
        label="OpenVINO GenAI",
        weights="int8, the same file as target openvino",
        module="benchmarks.peers.openvino_genai",
        model=ModelForm.OPENVINO_IR,
        packages=("openvino-genai", "openvino"),
        requirements=("openvino-genai==2026.4.*", "openvino==2026.4.*", "numpy"),
    ),
    PeerSpec(
        name="llama.cpp",
        label="llama.cpp",
        weights="Q8_0",
        module="benchmarks.peers.llama_cpp",
        model=ModelForm.GGUF,
        packages=("llama-cpp-python",),
        requirements=("llama-cpp-python==0.3.36", "numpy"),
        # GCC before 12.4 drops the stores that fill an AMX tile configuration (its bug 114098),
        # and llama.cpp then crashes on CPUs with AMX; without dead store elimination it does not.
        install_variables={
            "CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"
            " -DCMAKE_CXX_FLAGS='-fno-tree-dse -fno-dse'"
        },
    ),
    PeerSpec(
        name="onnxruntime-genai",
        label="ONNX Runtime GenAI",
        weights="int8, blocks of 128",
        module="benchmarks.peers.onnxruntime_genai",
        model=ModelForm.ONNX,
        packages=("onnxruntime-genai", "onnxruntime"),
        requirements=(
            "onnxruntime-genai==0.18.*",
            *("onnx", "onnx-ir", "transformers>=5,<6", "safetensors", "numpy"),
        ),
        needs_torch=True,
    ),
    PeerSpec(
        name="huggingface",
        label="Hugging Face generate",
        weights="dequantized",
        module="benchmarks.peers.huggingface",
        model=ModelForm.HUGGING_FACE,
        packages=("transformers", "torch"),
        requirements=("transformers>=5,<6", "safetensors", "numpy"),
        needs_torch=True,
    ),
)


def choose_peers(names: Sequence[str]) -> tuple[PeerSpec, ...]:
    """The named peers in the catalogue's order; raises ValueError for an unknown name."""
    known = [peer.name for peer in PEERS]
    for name in names:
        if name not in known:
            raise ValueError(f"peers has no {name!r}; it has {', '.join(known)}")
    return tuple(peer for peer in PEERS if peer.name in names)
