"""What a network is made of: one protocol of operations, and what implements it."""

from __future__ import annotations

from llmasos_builder.graph.graph import Activation as Activation
from llmasos_builder.graph.graph import Array as Array
from llmasos_builder.graph.graph import Graph as Graph
from llmasos_builder.graph.graph import Scores as Scores

__all__ = ["Activation", "Array", "Graph", "Scores"]
