"""Opens checkpoints one by one, each in a process of its own that is bounded; prints what came.

Run as a program: worker.py DIRECTORY. Reads names of cases, one a line, and answers each with a
line of JSON: what ended it, its message, its seconds of work, and the megabytes that it took
beyond those of a process that opens none.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import check_tensors, load_tensor
from llmasos_builder.checkpoint import open_checkpoint

from hostile.cases import CASES

SECONDS, MEGABYTES = 20, 3000


def open_and_read(source: Path, scratch: Path) -> None:
    """All that a build does with a checkpoint, but compile it."""
    checkpoint = open_checkpoint(source)
    spec = decoder_spec(checkpoint.config)
    for name, content in checkpoint.tokenizer_files.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    Tokenizer.load(scratch).encode("one two three")
    for name in check_tensors(spec, checkpoint.weights):
        load_tensor(checkpoint.weights, name)


def bounded(work: Callable[[], None]) -> dict[str, object]:
    """What became of it in a process that may take so much memory and time."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES << 20, MEGABYTES << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        signal.alarm(10 * SECONDS)  # by the clock, of a machine that may be busy
        os.write(1, json.dumps(outcome(work)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    _, status, usage = os.wait4(child, 0)
    result: dict[str, object] = {"ended": f"status {status}", "message": ""}
    if said:
        result = json.loads(said)
    return result | {"seconds": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss >> 10}


def outcome(work: Callable[[], None]) -> dict[str, str]:
    try:
        work()
    except CheckpointError as error:
        return {"ended": "refused", "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - a panic is none of the others
        return {"ended": type(error).__name__, "message": str(error)[:2000]}
    return {"ended": "read", "message": ""}


def main(directory: Path) -> None:
    idle = bounded(lambda: None)["megabytes"]
    assert isinstance(idle, int)
    for line in sys.stdin:
        place = directory / "case"
        place.mkdir()
        source = CASES[line.rstrip("\n")].make(place / "checkpoint")
        result = bounded(lambda: open_and_read(source, place / "plan"))  # noqa: B023
        result["megabytes"] = int(str(result["megabytes"])) - idle
        shutil.rmtree(place)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
