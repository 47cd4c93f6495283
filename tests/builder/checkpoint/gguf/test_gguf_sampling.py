"""Sampling that a GGUF file recommends is the model's generation config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import Keys
from llmasos.errors import CheckpointError
from llmasos.generation_config import GenerationConfig
from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.sampling import recommended_sampling
from made_gguf import write_gguf

# They tune one of the keys that are read, and mean nothing alone.
TUNING = {"sequence", "xtc_threshold", "penalty_last_n", "mirostat_tau", "mirostat_eta"}


def recommended(directory: Path, **values: Any) -> GenerationConfig:
    metadata = {f"general.sampling.{name}": value for name, value in values.items()}
    path = write_gguf(directory / "m.gguf", {"x": np.zeros(32, np.float32)}, values=metadata)
    return GenerationConfig.parse(recommended_sampling(GGUFFile(path)), name="m.gguf")


def test_temperature_and_filters_are_taken(tmp_path: Path) -> None:
    config = recommended(tmp_path, temp=0.6, top_k=20, top_p=0.95, min_p=0.05)
    assert config.sampling == {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05}
    assert config.warning() is None


def test_a_temperature_of_zero_is_greedy(tmp_path: Path) -> None:
    assert recommended(tmp_path, temp=0.0).sampling["temperature"] == 0.0


def test_what_is_not_supported_is_named(tmp_path: Path) -> None:
    config = recommended(tmp_path, penalty_repeat=1.1, xtc_probability=0.5, mirostat=2)
    assert config.sampling["repetition_penalty"] == 1.1
    assert dict(config.not_applied) == {"xtc_probability": 0.5, "mirostat": 2}


def test_a_value_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"general\.sampling\.temp must be a number"):
        recommended(tmp_path, temp="hot")


def test_every_key_of_the_format_is_read_or_only_tunes_one(tmp_path: Path) -> None:
    keys = {v for n, v in vars(Keys.General).items() if n.startswith("SAMPLING_")}
    read = {
        key
        for key in keys
        if recommended_sampling(
            GGUFFile(
                write_gguf(tmp_path / "m.gguf", {"x": np.zeros(32, np.float32)}, values={key: 1})
            )
        )
    }
    assert keys - read == {f"general.sampling.{name}" for name in TUNING}
