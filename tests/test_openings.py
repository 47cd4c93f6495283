"""Files of checkpoints and plans are opened in one place, `llmasos.files.regular_file`.

A file that is opened elsewhere could be a pipe that hangs, a device without an end or a link
that leads nowhere. Whatever opens a file must stand in this table, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# By module: what it calls, and why that opens no file of a checkpoint or plan.
ALLOWED: dict[str, dict[str, str]] = {
    "builder/llmasos_builder/architectures/page.py": {"page.read_text": "a page of the docs"},
    "builder/llmasos_builder/checkpoint/gguf/file.py": {"np.fromfile": "reads what is open"},
    "builder/llmasos_builder/checkpoint/names.py": {
        "open": "a log and a lock of our own",
        "zipfile.ZipFile": "a wheel that pip has checked",
        "archive.open": "a member of it",
        "target.open": "is written",
    },
    "builder/llmasos_builder/checkpoint/huggingface/safetensors_weights.py": {
        "np.fromfile": "reads what is open"
    },
    "builder/llmasos_builder/checkpoint/pickled/torch_archive.py": {
        "zipfile.ZipFile": "reads what is open"
    },
    "builder/llmasos_builder/atomic_directory.py": {"os.open": "directories of our own"},
    "builder/llmasos_builder/checkpoint/huggingface/safetensors_file.py": {
        "path.open": "is written"
    },
    "builder/llmasos_builder/native/code_cache.py": {
        "kept.read_bytes": "a file of our own cache",
        "read_bytes": "a module of the package",
        "path.read_bytes": "a module of the package",
    },
    "builder/llmasos_builder/native/weights_file.py": {
        "path.open": "is written",
        "np.memmap": "is written",
    },
    "builder/llmasos_builder/repository.py": {
        "shutil.copyfile": "a module of the package",
        "file.read_text": "a module of the package",
    },
    "app/llmasos_app/cli/__init__.py": {"os.open": "/dev/null, for what is printed"},
    "app/llmasos_app/cli/chat.py": {"path.read_text": "JSON that the user names"},
    "app/llmasos_app/cli/evaluate.py": {"path.read_text": "a text that the user names"},
    "app/llmasos_app/cli/reference.py": {"page.read_text": "a page of the docs"},
    "app/llmasos_app/recipe/run.py": {"path.read_text": "a note of our own"},
    "app/llmasos_app/report/measurement.py": {"kept.read_text": "a file of our own cache"},
    "app/llmasos_app/report/speed.py": {"read_text": "what the kernel says"},
    "client/llmasos/cache_lock.py": {"file.open": "a lock of our own"},
    "client/llmasos/contract/tables.py": {"page.read_text": "a page of the docs"},
    "client/llmasos/files/disk.py": {"file.open": "is written"},
    "client/llmasos/engine/cpu_kind.py": {"cpu_info.read_text": "what the kernel says"},
    "client/llmasos/engine/plan_lock.py": {"os.open": "directories, to lock them"},
    "client/llmasos/files/regular_file.py": {"open": "the one place", "os.open": "the one place"},
}
_METHODS = {
    *("open", "read_bytes", "read_text", "memmap", "fromfile", "safe_open", "ZipFile"),
    *("copyfile", "copy2", "copytree", "from_file", "load_file", "loadtxt"),
}
_CALLS = {"open", "safe_open", "mmap.mmap", "mmap", "np.load", "io.open", "tarfile.open"}


def openings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            owner, _, name = called.rpartition(".")
            if called in _CALLS or (owner and name in _METHODS):
                yield called if owner.isidentifier() or not owner else name


def test_files_of_others_are_opened_in_one_place() -> None:
    found = {
        (str(path.relative_to(ROOT)), called)
        for folder in ("builder", "client", "app")
        for path in (ROOT / folder).rglob("*.py")
        for called in openings(path)
    }
    allowed = {(module, called) for module, calls in ALLOWED.items() for called in calls}
    assert found == allowed
