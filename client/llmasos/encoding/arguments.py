"""Checks what the methods of an encoder are given, and cuts long lists into parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict, TypeVar

from llmasos.encoding.results import Classification, RankedDocument
from llmasos.encoding.transport import TextOptions
from llmasos.errors import InvalidRequestError
from llmasos.text.whole_texts import check_text

PART = 256
"""Texts that one request to the engine has."""
T = TypeVar("T")


class TextFields(TypedDict, total=False):
    """The fields of TextOptions, as keyword arguments."""

    truncate: bool
    priority: int
    deadline_ms: int | None


def text_options(**fields: object) -> TextOptions:
    """Returns the options; raises InvalidRequestError for a truncate that is no bool."""
    truncate = fields.get("truncate", False)
    if not isinstance(truncate, bool):
        raise InvalidRequestError(f"truncate must be true or false, got {truncate!r}")
    return TextOptions(**fields)  # type: ignore[arg-type]


def check_texts(texts: Sequence[T], name: str = "texts") -> Sequence[T]:
    """Refuses one string in place of a list: its characters would be texts."""
    if isinstance(texts, str | bytes) or not hasattr(texts, "__getitem__"):
        raise InvalidRequestError(f"{name} must be a list, got {type(texts).__name__}")
    return texts


def parts(texts: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yields neighbouring texts, as many as a request has; one empty part for none."""
    for begin in range(0, max(len(texts), 1), PART):
        yield texts[begin : begin + PART]


def pairs_of(query: str, documents: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the query with each document. Raises InvalidRequestError for what is no string."""
    check_text(query, "query")
    for number, document in enumerate(check_texts(documents, "documents")):
        check_text(document, f"document {number}")
    return [(query, document) for document in documents]


def ranked(
    found: Sequence[Classification], documents: Sequence[str], top_n: int | None
) -> list[RankedDocument]:
    """Returns the documents, the best first. Raises InvalidRequestError for a classifier of
    several labels, and for a top_n below 1.
    """
    if top_n is not None and (type(top_n) is not int or top_n < 1):
        raise InvalidRequestError(f"top_n must be an integer of at least 1, got {top_n!r}")
    for one in found:
        if len(one.scores) != 1:
            raise InvalidRequestError(
                f"rerank needs a model of one label, this one has {len(one.scores)}"
            )
    order = sorted(range(len(found)), key=lambda index: -found[index].score)
    return [
        RankedDocument(index=index, score=found[index].score, document=documents[index])
        for index in order[:top_n]
    ]
