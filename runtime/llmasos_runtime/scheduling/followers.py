"""Sequences that wait until another has computed the prompt that they share with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmasos_runtime.scheduling.waiting import WaitingQueue
from llmasos_runtime.sequences.sequence import Sequence


class Followers:
    """Several answers to one prompt: the first is the leader, and the others follow it.

    Admitted at once, each would compute the whole prompt; later, they find it in the prefix cache.
    Without one (share_prefixes) they do not wait. queue: where they go then.
    """

    def __init__(self, queue: WaitingQueue[Sequence], *, share_prefixes: bool) -> None:
        self._queue = queue
        self._share_prefixes = share_prefixes
        self._of: dict[Sequence, list[Sequence]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def __iter__(self) -> Iterator[Sequence]:
        return (follower for followers in self._of.values() for follower in followers)

    def add(self, leader: Sequence, followers: Iterable[Sequence]) -> None:
        """Lets them wait for a leader that was queued just now."""
        held = list(followers)
        if held:
            self._of[leader] = held
        if not self._share_prefixes:
            self.release(leader)

    def release(self, leader: Sequence) -> None:
        """Queues those of a leader that has computed its prompt, or ended."""
        for follower in self._of.pop(leader, ()):
            self._queue.add(follower)

    def remove(self, follower: Sequence) -> bool:
        """Forgets one that ends; False if it is none that waits."""
        for followers in self._of.values():
            if follower in followers:
                followers.remove(follower)
                return True
        return False
