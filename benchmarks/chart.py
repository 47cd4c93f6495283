"""The throughput as a picture: one panel for each number of streams, one bar for each peer.

Runs in an environment of its own, which alone has matplotlib:
`python -m benchmarks.chart results.json chart.png`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

PRODUCT_COLOUR = "#1f6f8b"
PEER_COLOUR = "#b8c4cc"
INK = "#22303a"


def draw(results: dict[str, Any], path: Path) -> None:
    """results: what results.json holds. Peers that are missing have no bar."""
    streams = results["conditions"]["streams"]
    peers = [peer for peer in results["peers"] if peer["levels"]]
    figure, panels = plt.subplots(
        1, len(streams), figsize=(4.2 * len(streams), 0.45 * len(peers) + 1.6), squeeze=False
    )
    for panel, count in zip(panels[0], streams, strict=True):
        _draw_panel(panel, peers, count)
    for panel in panels[0][1:]:
        panel.set_yticklabels([])
    conditions = results["conditions"]
    figure.suptitle(
        f"Output tokens/s, {conditions['checkpoint']}: {conditions['prompt_tokens']}-token prompts,"
        f" {conditions['new_tokens']} new tokens, {conditions['num_threads']} threads",
        color=INK,
        fontsize=11,
    )
    figure.text(0.01, 0.01, results["machine"]["cpu"], color=INK, fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=150)


def _draw_panel(panel: Any, peers: list[dict[str, Any]], count: int) -> None:
    speeds = [peer["levels"][str(count)]["tokens_per_s"] for peer in peers]
    medians = [speed["median"] for speed in speeds]
    ends = [
        [speed["median"] - speed["low"] for speed in speeds],
        [speed["high"] - speed["median"] for speed in speeds],
    ]
    is_product = [peer["name"].startswith("llmasos") for peer in peers]
    colours = [PRODUCT_COLOUR if mine else PEER_COLOUR for mine in is_product]
    places = range(len(peers))
    panel.barh(places, medians, xerr=ends, color=colours, ecolor=INK, error_kw={"lw": 0.8})
    panel.set_yticks(places, [peer["label"] for peer in peers], color=INK)
    panel.invert_yaxis()
    for place, speed in zip(places, speeds, strict=True):
        panel.annotate(
            f"{speed['median']:.0f}",
            (speed["high"], place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=9,
        )
    panel.set_xlim(0, 1.18 * max(speed["high"] for speed in speeds))
    panel.set_title("1 stream" if count == 1 else f"{count} streams", color=INK, fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK, length=0)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
