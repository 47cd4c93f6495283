"""What a program imports that starts a server: the server, and how it is to run."""

from __future__ import annotations

from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

__all__ = ["ServerOptions", "TritonServer"]
