"""A response sender that is not touched after its last response.

Triton frees what `is_cancelled` reads when the last response is sent, and crashes if it is read
meanwhile or later. So the two exclude each other.
"""

from __future__ import annotations

import threading

from llmasos_runtime.triton.backend import FINAL, ResponseSender


class EndingSender:
    """Sends the responses of one request; its methods may be called from any thread."""

    def __init__(self, sender: ResponseSender) -> None:
        self._sender = sender
        self._ending = threading.Lock()
        self._has_ended = False

    def send(self, response: object) -> None:
        """Sends a response that others follow.

        One at a time: what threads send together, such as the rows of one request, Triton 2.51 may
        mix up, and crash.
        """
        with self._ending:
            self._sender.send(response)

    def finish(self, response: object = None) -> None:
        """Sends the last response, or none if it cannot be sent, and always the final flag.

        Another call does nothing.
        """
        with self._ending:
            if self._has_ended:
                return
            self._has_ended = True
            try:
                self._sender.send(response, flags=FINAL)
            except BaseException:
                self._sender.send(flags=FINAL)
                raise

    def is_cancelled(self) -> bool:
        """True if Triton says that the client has gone."""
        with self._ending:
            return not self._has_ended and self._sender.is_cancelled()
