"""A report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from llmasos_app.report.measurement import Measurement
from llmasos_app.report.table import COLUMNS, cells

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: right; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tr.chosen { background: #fff3e0; }
img { max-width: 100%; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""


def page(
    rows: Sequence[Measurement],
    reference: Measurement,
    *,
    chosen: Measurement | None,
    conditions: str,
    chart: bytes,
) -> str:
    """Returns the page. conditions: a sentence that says how was measured. chart: a PNG."""
    body = [f"<h1>{html.escape(reference.name)} and what it becomes</h1>"]
    body.append(f"<p>{html.escape(conditions)}</p>")
    if chosen is not None:
        body.append(
            f"<p>Chosen: {html.escape(chosen.name)}, by "
            f"<code>{html.escape(chosen.command)}</code></p>"
        )
    image = base64.b64encode(chart).decode("ascii")
    body.append(f'<img alt="perplexity over memory and speed" src="data:image/png;base64,{image}">')
    body.append("<table><thead><tr>" + _row(COLUMNS, "th") + "</tr></thead><tbody>")
    for row in rows:
        mark = ' class="chosen"' if row is chosen else ""
        body.append(f"<tr{mark}>{_row(cells(row, reference), 'td')}</tr>")
    body.append("</tbody></table>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(reference.name)}</title><style>{_STYLE}</style></head>\n<body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _row(texts: Sequence[str], kind: str) -> str:
    return "".join(f"<{kind}>{html.escape(text)}</{kind}>" for text in texts)
