"""A process that was forked from a launcher has no say in the server's life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from patience import PATIENCE_S

LAUNCH = """
import os, sys, time
from llmasos import TritonClient
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
server = TritonServer(sys.argv[1], ServerOptions(grpc_port=0, http_port=0, metrics_port=0))
server.start()
url = server.http_url
heard, said = os.pipe()
child = os.fork()
if child == 0:
    server.stop(drain=False)
    os.write(said, b"stopped")
    time.sleep(600)
print(os.read(heard, 7).decode(), flush=True)
with TritonClient(url, timeout_s=60) as client:
    print(len(client.generate(["a"], max_tokens=3, ignore_eos=True)), flush=True)
print(server.pid, child, flush=True)
time.sleep(600)
"""


def test_a_forked_process_neither_stops_the_server_nor_keeps_it(tiny_repository: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LAUNCH, str(tiny_repository)],
        stdout=subprocess.PIPE,
        text=True,
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "stopped\n"
        assert launcher.stdout.readline() == "1\n"
        server, child = (psutil.Process(int(pid)) for pid in launcher.stdout.readline().split())
        try:
            launcher.send_signal(signal.SIGKILL)
            server.wait(PATIENCE_S)
            assert child.is_running()
        finally:
            os.kill(child.pid, signal.SIGKILL)
