"""What the pages say of the models is what the code supports."""

from __future__ import annotations

from pathlib import Path

from llmasos_builder.architectures.config import ACTIVATIONS
from llmasos_builder.architectures.encoder_decoders import encoder_decoders_table
from llmasos_builder.architectures.supported import SUPPORTED, models_table
from llmasos_builder.checkpoint.gguf.config import CONFIGS

ROOT = Path(__file__).parents[3]
BEGIN, END = "<!-- models table: begin -->\n", "\n<!-- models table: end -->"


def test_the_page_on_models_has_the_table() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    assert page.split(BEGIN)[1].split(END)[0] == models_table()


def test_the_page_has_the_encoder_decoders() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    begin, end = (f"<!-- encoder-decoders table: {edge} -->\n" for edge in ("begin", "end"))
    assert page.split(begin)[1].split(end)[0] == encoder_decoders_table() + "\n"


def test_the_page_names_what_is_read() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    assert all(f"`{name}`" in page for name in (*ACTIVATIONS, *CONFIGS))


def test_the_readme_lists_the_architectures() -> None:
    section = (ROOT / "README.md").read_text().split("## Supported models")[1].split("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("| `")]
    assert listed == [f"| `{name}` | {row.examples} |" for name, row in SUPPORTED.items()]
