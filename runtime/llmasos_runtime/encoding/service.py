"""The tasks of encoders over an engine in this process: from texts to results.

It implements `llmasos.encoding.transport.EncodingTransport`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
from llmasos.encoding.results import Classification, FilledMask, LabelledSpan
from llmasos.encoding.transport import Aggregation, EmbedOptions, Encoded, TextOptions, Vectors
from llmasos.engine.plan import Task
from llmasos.errors import InvalidRequestError
from llmasos.text.whole_texts import Text, TextEncoder, WholeText

from llmasos_runtime.encoding.labelled_spans import labelled_spans
from llmasos_runtime.encoding.masks import filled_masks, mask_id_of, mask_places
from llmasos_runtime.encoding.request import Rows, Tokens, Urgency
from llmasos_runtime.encoding.scores import softmax, to_scores
from llmasos_runtime.encoding.text_engine import TextEngine

ResultT = TypeVar("ResultT")


class EncodingService:
    """engine: is closed together with this object."""

    def __init__(self, engine: TextEngine) -> None:
        self._engine = engine
        record = engine.plan.encoder
        assert record is not None, "the plan is an encoder's"
        self._record = record
        self._encoder = TextEncoder(
            engine.tokenizer,
            max_tokens=engine.plan.limits.max_seq_len,
            lowercases=record.lowercases,
        )

    def embed(
        self, texts: Sequence[str], embed: EmbedOptions, options: TextOptions
    ) -> Future[Encoded[Vectors]]:
        """See EncodingTransport."""
        self._check_task("embed")
        dimensions = self._dimensions(embed.dimensions)
        prompt = self._prompt(embed)
        encoded = self._encoder.encode(texts, truncate=options.truncate, prompt=prompt)

        def finish(rows: list[Rows]) -> Vectors:
            vectors = (
                np.concatenate(rows) if rows else np.zeros((0, self._record.width), np.float32)
            )
            if dimensions == self._record.width:
                return vectors
            vectors = vectors[:, :dimensions]
            if not self._record.is_normalized:
                return vectors
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            normed: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
            return normed

        return self._submit(encoded, options, finish)

    def classify(
        self, texts: Sequence[Text], options: TextOptions
    ) -> Future[Encoded[list[Classification]]]:
        """See EncodingTransport."""
        self._check_task("classify")
        encoded = self._encoder.encode(texts, truncate=options.truncate)

        def finish(rows: list[Rows]) -> list[Classification]:
            return [self._classification(one[0]) for one in rows]

        return self._submit(encoded, options, finish)

    def classify_tokens(
        self, texts: Sequence[str], aggregation: Aggregation, options: TextOptions
    ) -> Future[Encoded[list[list[LabelledSpan]]]]:
        """See EncodingTransport."""
        self._check_task("classify_tokens")
        encoded = self._encoder.encode(texts, truncate=options.truncate)

        def finish(rows: list[Rows]) -> list[list[LabelledSpan]]:
            return [
                labelled_spans(text, tokens, softmax(one), self._record.labels, aggregation)
                for text, tokens, one in zip(texts, encoded, rows, strict=True)
            ]

        return self._submit(encoded, options, finish)

    def fill_mask(
        self, texts: Sequence[str], top_k: int, options: TextOptions
    ) -> Future[Encoded[list[list[list[FilledMask]]]]]:
        """See EncodingTransport."""
        self._check_task("fill_mask")
        tokenizer, vocab_size = self._engine.tokenizer, self._engine.plan.vocab_size
        if type(top_k) is not int or not 1 <= top_k <= vocab_size:
            raise InvalidRequestError(
                f"top_k must be an integer from 1 to {vocab_size}, got {top_k!r}"
            )
        mask_id = mask_id_of(tokenizer)
        encoded = self._encoder.encode(texts, truncate=options.truncate)
        places = [mask_places(one, mask_id, number) for number, one in enumerate(encoded)]

        def finish(rows: list[Rows]) -> list[list[list[FilledMask]]]:
            return [
                filled_masks(tokenizer, one.token_ids, at, softmax(own), top_k)
                for one, at, own in zip(encoded, places, rows, strict=True)
            ]

        return self._submit(encoded, options, finish, places)

    def close(self) -> None:
        """Ends what is running and frees the engine."""
        self._engine.close()

    def _submit(
        self,
        encoded: Sequence[WholeText],
        options: TextOptions,
        finish: Callable[[list[Rows]], ResultT],
        selected: Sequence[Sequence[int]] | None = None,
    ) -> Future[Encoded[ResultT]]:
        tokens = [
            Tokens(
                token_ids=one.token_ids,
                type_ids=one.type_ids if self._record.has_token_types else [0] * len(one.token_ids),
                selected=() if selected is None else selected[number],
            )
            for number, one in enumerate(encoded)
        ]
        urgency = Urgency(priority=options.priority, deadline_ms=options.deadline_ms)
        num_tokens = sum(len(one.token_ids) for one in encoded)

        def ended(rows: list[Rows]) -> Encoded[ResultT]:
            return Encoded(finish(rows), num_tokens)

        return chained(self._engine.submit(tokens, urgency), ended)

    def _classification(self, logits: Rows) -> Classification:
        labels = self._record.labels
        scores = to_scores(logits, self._record.scores)
        best = int(scores.argmax())
        return Classification(
            label=labels[best],
            score=float(scores[best]),
            scores={label: float(score) for label, score in zip(labels, scores, strict=True)},
        )

    def _check_task(self, wanted: Task) -> None:
        plan = self._engine.plan
        if plan.task != wanted:
            raise InvalidRequestError(
                f"{plan.name} is built for the task {plan.task}, and the task asked of it is "
                f"{wanted}"
            )

    def _dimensions(self, wanted: int | None) -> int:
        width = self._record.width
        if wanted is None:
            return width
        if type(wanted) is not int or not 1 <= wanted <= width:
            raise InvalidRequestError(
                f"dimensions must be an integer from 1 to {width}, got {wanted!r}"
            )
        return wanted

    def _prompt(self, embed: EmbedOptions) -> str:
        if embed.prompt is not None and embed.prompt_name is not None:
            raise InvalidRequestError("prompt and prompt_name cannot be given together")
        if embed.prompt is not None:
            return embed.prompt
        name = embed.prompt_name or self._record.default_prompt
        if name is None:
            return ""
        if name not in self._record.prompts:
            known = ", ".join(self._record.prompts) or "none"
            raise InvalidRequestError(f"prompt_name {name!r} is not one of the model's: {known}")
        return self._record.prompts[name]


def chained(rows: Future[list[Rows]], finish: Callable[[list[Rows]], ResultT]) -> Future[ResultT]:
    """Returns a future of what is made of the rows; cancelling it cancels them."""
    result: Future[ResultT] = Future()

    def done(found: Future[list[Rows]]) -> None:
        if found.cancelled() or not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(finish(found.result()))
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits
            result.set_exception(error)

    def left(own: Future[ResultT]) -> None:
        if own.cancelled():
            rows.cancel()

    rows.add_done_callback(done)
    result.add_done_callback(left)
    return result
