"""The real checkpoint: its text is the reference's, its build quick and small in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from llmasos_builder.architectures import decoder_spec
from llmasos_builder.checkpoint import open_checkpoint
from openvino_models import PagedModel
from parity import compiled
from smollm2_text import CONTINUATION, PROMPT

BUILD = """
import sys, time
from pathlib import Path
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.openvino.compile import compile_openvino
from llmasos_builder.checkpoint import open_checkpoint
start = time.process_time()
checkpoint = open_checkpoint(sys.argv[1])
compile_openvino(
    decoder_spec(checkpoint.config), checkpoint.weights, precision=sys.argv[2],
    output=Path(sys.argv[3]), progress=lambda done, total: None,
)
seconds = time.process_time() - start
status = dict(line.split(":", 1) for line in Path("/proc/self/status").open())
print(seconds, 1024 * int(status["VmHWM"].split()[0]))
"""


def test_greedy_tokens_in_f32_are_the_references(smollm2_checkpoint: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(smollm2_checkpoint)
    path = compiled(tmp_path, decoder_spec(checkpoint.config), checkpoint.weights)
    model = PagedModel(path, num_rows=1)
    tokens = PROMPT
    text: list[int] = []
    while len(text) < len(CONTINUATION):
        (logits,) = model.step([tokens])
        tokens = [int(logits[-1].argmax())]
        text += tokens
    assert text == CONTINUATION


def test_a_build_takes_little_time_and_memory(smollm2_checkpoint: str, tmp_path: Path) -> None:
    open_checkpoint(smollm2_checkpoint)  # downloads it first if need be
    path = tmp_path / "engine.xml"
    command = [sys.executable, "-c", BUILD, smollm2_checkpoint, "int8", str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak_bytes = map(float, said.split())
    engine_bytes = path.with_suffix(".bin").stat().st_size
    assert 135e6 < engine_bytes < 140e6
    assert peak_bytes < 3 * engine_bytes + 500e6
    assert seconds < 30  # of processor time; it takes 4
