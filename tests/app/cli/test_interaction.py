"""The command line in the hands of a person: Ctrl-C, and a conversation on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from fake_triton import PIECES, FakeTriton, fake_grpc
from patience import PATIENCE_S, wait_until

LLMASOS = str(Path(sys.executable).with_name("llmasos"))
TEXT = "".join(PIECES)


def test_ctrl_c_stops_the_request_and_exits_with_130() -> None:
    with fake_grpc() as triton:
        with subprocess.Popen(
            # What a shell runs in the background, these tests too, ignores the signal.
            ["env", "--default-signal=INT", LLMASOS, "generate", "--url", triton.url, "hang"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.read(len(PIECES[0])) == PIECES[0]
                process.send_signal(signal.SIGINT)
                try:
                    _, stderr = process.communicate(timeout=20)
                except subprocess.TimeoutExpired:  # grpc now and then loses a signal; a user
                    process.send_signal(signal.SIGINT)  # repeats it
                    _, stderr = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        assert process.returncode == 130
        assert "Traceback" not in stderr
        assert triton.stops() == [triton.asked()[0]["id"]]


class Terminal:
    """`llmasos chat` on a terminal of its own, and what has appeared on it."""

    def __init__(self, triton: FakeTriton) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [LLMASOS, "chat", "--url", triton.url],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self._shown = b""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def shows(self, text: str) -> bool:
        with contextlib.suppress(OSError):  # nothing new, or the other side is closed
            self._shown += os.read(self._ours, 65536)
        return text.encode() in self._shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_a_conversation_remembers_its_turns_until_ctrl_d() -> None:
    with fake_grpc() as triton:
        terminal = Terminal(triton)
        try:
            wait_until(lambda: terminal.shows("> "))
            terminal.type("first\n")
            wait_until(lambda: terminal.shows(TEXT))
            terminal.type("second\n")
            wait_until(lambda: len(triton.asked()) == 2)
            terminal.type("\x04")
            assert terminal.process.wait(PATIENCE_S) == 0
        finally:
            terminal.close()
        assert json.loads(triton.asked()[1]["messages"]) == [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": TEXT},
            {"role": "user", "content": "second"},
        ]


def test_a_chat_with_nothing_on_stdin_asks_nothing() -> None:
    with fake_grpc() as triton:
        done = subprocess.run(
            [LLMASOS, "chat", "--url", triton.url],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == "nothing was asked: stdin is empty\n"
        assert triton.asked() == []
