"""A server starts from any path, and runs nothing that a path says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from patience import PATIENCE_S

ODD = "-$(touch${IFS}RAN) `touch RAN` ;&|<> 'q\" \xe9 \u2603 \udcff \n"
"""A name of all that a shell, an interpreter in ASCII or a list of paths may trip over."""
SERVE = """
import sys
from pathlib import Path
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from llmasos.triton.triton_client import TritonClient
log = Path.cwd() / "server log"
options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, log_file=log)
with TritonServer(sys.argv[1], options) as server:
    with TritonClient(server.grpc_url) as client:
        sys.stdout.write(client.generate_text("a", max_tokens=1, ignore_eos=True) and "answered")
"""


@pytest.fixture
def odd_python(tmp_path: Path) -> Path:
    """An environment in a path with letters beyond ASCII, with this one's packages."""
    place = tmp_path / "Jos\xe9 $(touch RAN)"
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    shutil.rmtree(packages)
    (own,) = {Path(path) for path in sys.path if path.endswith("site-packages")}
    packages.symlink_to(own)
    return place / "bin" / "python"


def test_a_server_starts_where_every_path_is_odd(
    tiny_repository: Path, odd_python: Path, tmp_path: Path
) -> None:
    odd = tmp_path / ODD
    odd.mkdir()
    repository = shutil.copytree(tiny_repository, odd / "-model")
    places = {name: str(odd) for name in ("HOME", "TMPDIR", "LLMASOS_CACHE", "XDG_RUNTIME_DIR")}
    # What a shell believes, and what it runs when it starts.
    shells = {"PWD": str(odd), "BASH_ENV": "$(touch RAN)", "BASH_FUNC_exec%%": "() { touch RAN; }"}
    environment = {**os.environ, **places, **shells, "LC_ALL": "C"}
    done = subprocess.run(
        [odd_python, "-c", SERVE, repository],
        cwd=odd,
        env=environment,
        capture_output=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert done.stdout == b"answered", done.stderr.decode()
    assert not list(tmp_path.rglob("RAN"))
    assert "successfully loaded 'engine'" in (odd / "server log").read_text()
