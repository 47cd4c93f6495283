"""Ends a model's process with its server, however that ended.

Triton's own process notices within a third of a second that its server was killed, but then
destroys its Python objects without holding the interpreter lock, which sometimes hangs for ever.
Here the kernel tells a thread at once, which ends the process without any of that.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress


def end_with_server() -> None:
    """From now on, this process ends when its parent does."""
    with suppress(OSError):  # a kernel or a sandbox without it: Triton's own way is left
        server = os.pidfd_open(os.getppid())
        threading.Thread(target=_wait_and_end, args=(server,), name="orphan", daemon=True).start()


def _wait_and_end(server: int) -> None:
    ended = select.poll()
    ended.register(server, select.POLLIN)
    ended.poll()
    os._exit(1)
