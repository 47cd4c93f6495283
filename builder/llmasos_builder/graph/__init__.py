"""The operations of a network as one protocol, and implementations for tests."""

from __future__ import annotations

from llmasos_builder.graph.graph import Activation as Activation
from llmasos_builder.graph.graph import Array as Array
from llmasos_builder.graph.graph import AttentionScores as AttentionScores
from llmasos_builder.graph.graph import Graph as Graph
from llmasos_builder.graph.graph import Pooling as Pooling
from llmasos_builder.graph.graph import each_linear as each_linear

__all__ = ["Activation", "Array", "AttentionScores", "Graph", "Pooling", "each_linear"]
