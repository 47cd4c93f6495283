"""Which models of a server answer a client that asks for one of them by its name.

A server of one language model calls its parts `engine`, `ensemble` and so on. A server of several
gives each the name under which it is served: that is an ensemble, and its steps name its engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llmasos.contract.served_names import is_engine

ENGINE = "engine"
ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class AskedModel:
    """model: gets the requests. engine: computes them, and can be told to stop one."""

    model: str
    engine: str = ENGINE

    @property
    def is_engine(self) -> bool:
        """Whether requests go to the engine in one hop, which sends token ids too."""
        return self.model == self.engine


def known_model(name: str | None) -> AskedModel | None:
    """Returns what a name asks for if it says so itself; else the server must be asked."""
    if name == ENSEMBLE:
        return AskedModel(ENSEMBLE)
    if name is not None and is_engine(name):
        return AskedModel(name, name)
    return None


def engine_of_steps(step_models: Iterable[str]) -> str | None:
    """Returns the engine among the models of an ensemble's steps; None if there is none."""
    return next((name for name in step_models if is_engine(name)), None)


def model_of_text(
    engine_inputs: Iterable[str], *, engine: str = ENGINE, ensemble: str = ENSEMBLE
) -> AskedModel:
    """Returns the model that answers text in the fewest hops: the engine, if it takes text.

    engine_inputs: names of the engine's inputs; none if the server has no such model.
    """
    return AskedModel(engine if "text_input" in engine_inputs else ensemble, engine)
