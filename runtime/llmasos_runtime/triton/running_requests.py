"""The requests that a served engine has accepted and not answered to the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from llmasos.errors import InvalidRequestError

from llmasos_runtime.triton.reply import Reply

_MAX_STOPPED_EARLY = 1024
_MAX_ID = 1024


@dataclass(slots=True, kw_only=True)
class Running:
    """A request that has no last response yet.

    client_id: the id that its client gave it. is_passed_on: True for a stream of the ensemble.
    """

    client_id: str
    is_passed_on: bool
    reply: Reply


class RunningRequests:
    """Finds requests by the engine's id, and by their client's when it wants them to stop.

    Two clients may use one id. Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._stopped_early: dict[str, float] = {}

    def add(self, request_id: str, running: Running) -> None:
        self._running[request_id] = running

    def get(self, request_id: str) -> Running:
        return self._running[request_id]

    def remove(self, request_id: str) -> None:
        del self._running[request_id]

    def items(self) -> list[tuple[str, Running]]:
        return list(self._running.items())

    def num_sent(self) -> dict[int, int]:
        """Number of responses sent by each stream of the ensemble, by the number of its id."""
        return {int(i): one.reply.num_sent for i, one in self.items() if one.is_passed_on}

    def stop(self, client_id: str, *, for_s: float) -> list[str]:
        """Returns the ids of the client's requests, or remembers to stop one that comes yet.

        for_s: seconds to remember it: a client may give up a request before its text has become
        tokens. Raises InvalidRequestError for an id that is empty or too long.
        """
        if not client_id:
            raise InvalidRequestError("stop needs the id of the request to end")
        if len(client_id) > _MAX_ID:
            raise InvalidRequestError(
                f"the id of a request to stop has {len(client_id)} characters, at most {_MAX_ID}"
            )
        found = [i for i, running in self.items() if running.client_id == client_id]
        if for_s and not found:
            while len(self._stopped_early) >= _MAX_STOPPED_EARLY:
                del self._stopped_early[next(iter(self._stopped_early))]
            self._stopped_early[client_id] = time.monotonic() + for_s
        return found

    def is_stopped(self, client_id: str) -> bool:
        """True once, if a request of this id was to stop before it came."""
        return self._stopped_early.pop(client_id, 0.0) > time.monotonic()
