"""Checkpoints on the Hugging Face hub, through `huggingface_hub` and its own cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.files.disk import is_of_the_disk, not_written
from llmasos.huggingface import prepare_huggingface
from llmasos.progress import Progress

WANTED_FILES = (
    "config.json",
    "generation_config.json",
    "hf_quant_config.json",
    "model.safetensors",
    "model[-_]*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    # sentence-transformers' modules
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_*/config.json",
    "[0-9]_*/model.safetensors",
)


PICKLED_FILES = (
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
    "pytorch_model.bin.index.json",
)


def download_repository(
    repository: str,
    *,
    revision: str | None,
    progress: Progress,
    wanted: Sequence[str] = WANTED_FILES,
) -> Path:
    """Returns the directory of a hub repository's checkpoint, from the hub's cache if possible.

    wanted: patterns of file names.

    HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE have their usual meaning.
    Raises CheckpointError: unknown repository or revision, no permission, no network.
    """
    prepare_huggingface()  # before huggingface_hub reads the variable
    # These bring an HTTP client along, which a checkpoint on disk does without.
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    # The HTTP library's own errors, whichever library this version of huggingface_hub uses.
    http_errors: tuple[Any, ...] = HfHubHTTPError.__bases__
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                endpoint=os.environ.get("HF_ENDPOINT"),
                allow_patterns=list(wanted),
                tqdm_class=_progress_bar(f"download {repository}", progress),
                library_name="llmasos",
            )
        )
    except (HFValidationError, OSError, RuntimeError, *http_errors) as error:
        # RuntimeError: what is written in Rust says so of anything, a disk that is full too.
        raise CheckpointError(_explain(repository, revision, error)) from error


def _explain(repository: str, revision: str | None, error: BaseException) -> str:
    from huggingface_hub import constants, errors  # noqa: PLC0415

    if isinstance(error, OSError) and is_of_the_disk(error):
        place = Path(constants.HF_HUB_CACHE)
        return f"{repository} cannot be downloaded: " + str(
            not_written(place, error, error=CheckpointError)
        )
    where = repository if revision is None else f"{repository} at revision {revision}"
    if isinstance(error, errors.GatedRepoError):
        return f"{where} is gated: accept its licence on the hub and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no repository {repository}, or it is private and HF_TOKEN is not set"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision} on the hub"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            f"{where} is neither a path nor in the hub's cache, and the hub cannot be reached; "
            "check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        )
    return f"{where} cannot be downloaded from the hub: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _progress_bar(stage: str, progress: Progress) -> type[Any]:
    """Returns a tqdm that draws nothing and reports bytes, or files where bytes are not counted."""
    tqdm: Any = import_module("tqdm").tqdm  # it has no types
    sizes: dict[str, tuple[float, float]] = {}

    class Reporter(tqdm):  # type: ignore[misc]  # a class of type Any
        monitor_interval = 0  # no thread that looks for bars to draw anew

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # huggingface_hub's own addition
            super().__init__(*args, **{**kwargs, "disable": False})

        def display(self, *args: Any, **kwargs: Any) -> None:
            """Draws nothing."""

        def update(self, n: float | None = 1) -> Any:
            result = super().update(n)
            done, total = sizes.get(self.unit, (0.0, 0.0))
            sizes[self.unit] = (max(done, self.n), max(total, self.total or 0.0))
            done, total = sizes.get("B", sizes[self.unit])
            if total:
                progress(stage, int(min(done, total)), int(total))
            return result

    return Reporter
