"""Stop words that are special tokens are matched by id, since text does not contain them.

A word that mixes a special token with other text can never be found in text. It is refused, since
an answer that ignores it would look like one that never got there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmasos.errors import InvalidRequestError

from llmasos_runtime.sequences.request import Request

_SHOWN = 60


def with_special_stops(request: Request, special_tokens: Mapping[str, int]) -> Request:
    """Returns the request with the ids of its stop words that are special tokens.

    The words stay stop strings as well: a model may spell them in ordinary tokens.
    special_tokens: ids by text. Raises InvalidRequestError for a word that mixes one with other
    text.
    """
    words = request.params.stop
    if not words:
        return request
    together = "\0".join(words)
    inside = [text for text in special_tokens if text in together]
    for word in words:
        found = next((text for text in inside if text in word), None)
        if found is not None and word not in special_tokens:
            raise InvalidRequestError(
                f"a stop string holds the special token {found!r:.{_SHOWN}} beside other text, "
                f"got {word!r:.{_SHOWN}}",
                hint="stop at the token alone, or at the other text",
            )
    by_id = {special_tokens[word]: word for word in words if word in special_tokens}
    return replace(request, stop_tokens=by_id)
