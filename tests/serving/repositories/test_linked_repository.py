"""The repository that Triton reads when it serves several models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.errors import InvalidRequestError, LLMasOSError, ServerError
from llmasos_serving.triton.models_watch import processes_of
from llmasos_serving.triton.processes import ModelProcess
from llmasos_serving.triton.repositories.linked_repository import link_models
from llmasos_serving.triton.repositories.served_models import (
    PlacedModel,
    ServedRepository,
    place_models,
)
from llmasos_serving.triton.server_log import ServerLog
from tritonclient.grpc import model_config_pb2

_pb2: Any = model_config_pb2


def placed(*repositories: Path, names: tuple[str | None, ...] = ("a", "b")) -> Any:
    return place_models(
        [
            ServedRepository(repository=path, name=name, num_threads=1, kv_cache_bytes=1 << 20)
            for path, name in zip(repositories, names, strict=True)
        ]
    )


def linked(models: tuple[PlacedModel, ...], directory: Path) -> Path:
    log = ServerLog()
    try:
        return link_models(models, directory, log, classic_names=True)
    finally:
        log.close()


def config(repository: Path, model: str) -> Any:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), _pb2.ModelConfig())


def test_each_part_of_the_second_model_leads_to_its_own_siblings(
    tiny_repository: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_repository, other)
    changed = other / "engine" / "config.pbtxt"
    text = changed.read_text().replace(
        'key: "max_queue_size" value { string_value: "1024" }',
        'key: "max_queue_size" value { string_value: "7" }',
    )
    changed.write_text(text)
    target = linked(placed(tiny_repository, other), tmp_path)
    assert {"a", "b", "b.engine", "b.tokenizer", "b.detokenizer"} <= {
        path.name for path in target.iterdir()
    }
    assert not (target / "b.ensemble").exists()
    steps = [step.model_name for step in config(target, "b").ensemble_scheduling.step]
    assert steps == ["b.tokenizer", "b.engine", "b.detokenizer"]
    plain = [step.model_name for step in config(target, "a").ensemble_scheduling.step]
    assert plain == ["tokenizer", "engine", "detokenizer"]
    tokenizer_dir = config(target, "b.tokenizer").parameters["tokenizer_dir"].string_value
    assert tokenizer_dir == "../../b.engine/1/plan"
    assert (target / "b.engine" / "1").resolve() == (other / "engine" / "1").resolve()
    for engine in ("engine", "b.engine"):
        parameters = config(target, engine).parameters
        assert parameters["kv_cache_bytes"].string_value == str(1 << 20)
        assert parameters["num_threads"].string_value == "1"
    assert config(target, "b.engine").parameters["max_queue_size"].string_value == "7"
    assert config(target, "b.engine").name == "b.engine"


def test_a_model_alone_keeps_its_names_and_files(tiny_repository: Path, tmp_path: Path) -> None:
    models = place_models([ServedRepository(repository=tiny_repository)])
    target = linked(models, tmp_path)
    assert models[0].name is None
    assert all(path.is_symlink() for path in target.iterdir())
    assert {path.name for path in target.iterdir()} == set(models[0].parts(classic_names=True))


def test_names_come_from_the_checkpoint_and_two_of_one_name_are_refused(
    tiny_repository: Path,
) -> None:
    with pytest.raises(InvalidRequestError, match="two models would be served as 'tiny-llama'"):
        placed(tiny_repository, tiny_repository, names=(None, None))
    first, second = placed(tiny_repository, tiny_repository, names=(None, "b"))
    assert (first.name, second.name) == ("tiny-llama", "b")
    assert (first.is_plain, second.is_plain) == (True, False)
    assert (first.metrics_label, second.metrics_label) == ("tensorrt_llm", "b")


def test_what_cannot_be_served_is_named(tiny_repository: Path, tmp_path: Path) -> None:
    with pytest.raises(LLMasOSError, match="missing is no model repository"):
        placed(tiny_repository, tmp_path / "missing")
    with pytest.raises(InvalidRequestError, match="at least one model"):
        place_models([])
    broken = tmp_path / "broken"
    shutil.copytree(tiny_repository, broken)
    with (broken / "tokenizer" / "config.pbtxt").open("a") as file:
        file.write("nonsense {")
    with pytest.raises(ServerError, match=r"tokenizer/config\.pbtxt cannot be read"):
        linked(placed(tiny_repository, broken), tmp_path)


def test_a_name_that_the_first_repository_has_for_a_model_is_refused(
    tiny_repository: Path, tmp_path: Path
) -> None:
    with_more = tmp_path / "with-more"
    shutil.copytree(tiny_repository, with_more)
    shutil.copytree(with_more / "tokenizer", with_more / "b")
    with pytest.raises(ServerError, match="has a model named b already"):
        linked(placed(with_more, tiny_repository), tmp_path)


def test_each_process_is_watched_with_its_own_model(tiny_repository: Path) -> None:
    models = placed(tiny_repository, tiny_repository)
    names = ("", "engine", "tokenizer", "tensorrt_llm", "b.engine", "b.tokenizer")
    nothing: Any = None
    processes = [ModelProcess(model=name, process=nothing) for name in names]
    found = [[p.model for p in processes_of(model, models, processes)] for model in models]
    assert found == [["", "engine", "tokenizer", "tensorrt_llm"], ["b.engine", "b.tokenizer"]]
    assert models[0].plan == tiny_repository / PLAN_IN_REPOSITORY
