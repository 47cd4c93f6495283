"""Measures all variants of a model and writes what was found as JSON, Markdown, PNG and HTML."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmasos.errors import PlanError
from llmasos.files.disk import not_written
from llmasos.progress import Progress

from llmasos_app.report.chart import draw
from llmasos_app.report.choice import Limits, fastest_within
from llmasos_app.report.measurement import Conditions, Measurement, measure
from llmasos_app.report.page import page
from llmasos_app.report.table import markdown
from llmasos_app.report.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """reference: the row that the others are compared with; it is one of the rows. chosen: the
    fastest row within the limits; None if no row keeps to them.
    """

    rows: tuple[Measurement, ...]
    reference: Measurement
    chosen: Measurement | None
    conditions: str

    def write(self, directory: Path) -> None:
        """Writes report.json, report.md, report.png and report.html.

        Raises PlanError if the directory cannot be written.
        """
        chart = draw(self.rows, self.chosen)
        record = {
            "conditions": self.conditions,
            "reference": self.reference.name,
            "chosen": None if self.chosen is None else self.chosen.name,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }
        html = page(
            self.rows,
            self.reference,
            chosen=self.chosen,
            conditions=self.conditions,
            chart=chart,
        )
        files = {
            "report.json": (json.dumps(record, indent=2) + "\n").encode(),
            "report.md": f"{self.conditions}\n\n{markdown(self.rows, self.reference)}".encode(),
            "report.png": chart,
            "report.html": html.encode(),
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (directory / name).write_bytes(content)
        except OSError as error:
            raise not_written(directory, error, error=PlanError) from error


def make_report(
    variants: Sequence[Variant],
    reference: Variant,
    conditions: Conditions,
    limits: Limits,
    *,
    progress: Progress,
) -> Report:
    """Measures each variant and the reference, which is the first row.

    Raises PlanError, InvalidRequestError.
    """
    others = [one for one in variants if one.plan_dir != reference.plan_dir]
    rows = [measure(one, reference, conditions, progress) for one in (reference, *others)]
    return Report(
        rows=tuple(rows),
        reference=rows[0],
        chosen=fastest_within(rows, rows[0], limits),
        conditions=conditions.described,
    )
