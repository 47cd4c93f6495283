"""How close a native engine of a real network stays to f32."""

from __future__ import annotations

from pathlib import Path

import needs_native  # noqa: F401
import pytest
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.evaluation.evaluate import Evaluation, EvaluationOptions, evaluate
from made_once import made_once

TEXT = """
The harbour was quiet in the early morning. Two fishing boats had come in before dawn, and their
crews were unloading crates of herring onto the stone pier. A woman in a blue coat counted them and
wrote the numbers into a small book. By seven o'clock the first buyers arrived from the market in
the old town, and by eight everything was sold. The price of fish had risen again during the
winter, because storms in the north kept many of the larger ships in port for weeks at a time.

In the afternoon the wind turned to the west. Children walked home from school along the sea wall,
throwing pebbles into the water, and the lighthouse keeper painted the railing of his balcony for
the third time that year. He liked to say that salt and rust were the only two things in the world
that never took a holiday. From his window he could see the whole bay: the islands, the ferry on its
way to the mainland, and far out the long grey line where the sky began.
"""


@pytest.fixture(scope="module")
def evaluation(smollm2_checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    def built(options: BuildOptions) -> Path:
        name = f"smollm2/{options.target}-{options.precision}"
        return made_once(
            tmp_path_factory, name, lambda path: build_plan(smollm2_checkpoint, path, options)
        )

    return evaluate(
        built(BuildOptions(target="native", precision="int8")),
        TEXT,
        EvaluationOptions(num_threads=2),
        against=built(BuildOptions(target="openvino", precision="f32")),
        progress=lambda stage, done, total: None,
    )


def test_smollm2_in_int8_predicts_a_text_as_well_as_in_f32(evaluation: Evaluation) -> None:
    assert evaluation.num_predicted > 150
    assert evaluation.perplexity < 30
    assert evaluation.distance is not None
    assert evaluation.distance.kl_divergence < 0.02
    assert evaluation.distance.agreement > 0.88
