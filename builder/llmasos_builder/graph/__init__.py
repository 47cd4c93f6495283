"""What a network is made of: one protocol of operations, and what implements it."""

from __future__ import annotations

from llmasos_builder.graph.graph import Activation as Activation
from llmasos_builder.graph.graph import Array as Array
from llmasos_builder.graph.graph import Graph as Graph
from llmasos_builder.graph.graph import Scores as Scores
from llmasos_builder.graph.graph import each_linear as each_linear

__all__ = ["Activation", "Array", "Graph", "Scores", "each_linear"]
