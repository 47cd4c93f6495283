"""The labels of a text's tokens, or of its words (transformers' aggregation_strategy simple)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llmasos.encoding.results import LabelledSpan
from llmasos.encoding.transport import Aggregation
from llmasos.errors import InvalidRequestError
from llmasos.text.whole_texts import WholeText

from llmasos_runtime.encoding.request import Rows

_OUTSIDE = "O"


def labelled_spans(
    text: str,
    tokens: WholeText,
    scores: Rows,
    labels: Sequence[str],
    aggregation: Aggregation,
) -> list[LabelledSpan]:
    """Returns the label of each token that is text, in order.

    scores: [tokens, labels]. aggregation: none gives every token; simple joins neighbours of one
    entity, whose labels may begin with B- or I-, and leaves out what is labelled O. The score of
    several tokens is their mean.
    """
    if aggregation not in ("none", "simple"):
        raise InvalidRequestError(f"aggregation must be none or simple, got {aggregation!r}")
    spans = [
        _span(text, *offsets, labels[int(row.argmax())], float(row.max()))
        for offsets, word, row in zip(tokens.offsets, tokens.word_ids, scores, strict=True)
        if word is not None
    ]
    return spans if aggregation == "none" else _entities(text, spans)


def _span(text: str, start: int, end: int, label: str, score: float) -> LabelledSpan:
    return LabelledSpan(label=label, score=score, text=text[start:end], start=start, end=end)


def _entities(text: str, spans: Sequence[LabelledSpan]) -> list[LabelledSpan]:
    groups: list[list[LabelledSpan]] = []
    last = None
    for span in spans:
        begins, kind = _parts(span.label)
        if last == kind and not begins:
            groups[-1].append(span)
        else:
            groups.append([span])
        last = kind
    return [
        _span(
            text,
            group[0].start,
            group[-1].end,
            _parts(group[0].label)[1],
            float(np.mean([one.score for one in group])),
        )
        for group in groups
        if group[0].label != _OUTSIDE
    ]


def _parts(label: str) -> tuple[bool, str]:
    """Returns whether a label begins an entity, and the entity's kind."""
    if label.startswith(("B-", "I-")):
        return label.startswith("B-"), label[2:]
    return False, label
