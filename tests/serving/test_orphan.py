"""A model's process ends with its server."""

from __future__ import annotations

import subprocess
import sys

import psutil
from patience import PATIENCE_S

MODEL = """
from llmasos_runtime.triton.orphan import end_with_server
end_with_server()
print("ready", flush=True)
try:
    input()  # the test's end: it keeps this open
finally:
    raise SystemExit("it was not ended")
"""
SERVER = """
import subprocess, sys, time
with subprocess.Popen([sys.executable, "-c", sys.argv[1]]) as model:
    print(model.pid, flush=True)
    time.sleep(600)
"""


def test_it_ends_when_its_server_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, MODEL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        model = psutil.Process(int(server.stdout.readline()))
        assert server.stdout.readline() == "ready\n"
        assert model.is_running()
        server.kill()
        model.wait(PATIENCE_S)
