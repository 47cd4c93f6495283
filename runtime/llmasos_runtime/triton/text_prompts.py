"""Reads the prompts of requests that hold text or a conversation, in threads of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from llmasos.contract.text_tensors import CHAT_OBJECTS, TASK_INPUTS
from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError
from llmasos.text.chat import MAX_TEMPLATE_CHARACTERS
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos.text.source_texts import EncodedPrompt, SourceTexts, sources_of
from llmasos.text.text_task import TextTask
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.triton.chat_inputs import (
    chat_options,
    conversation,
    refuse_chat_inputs,
)
from llmasos_runtime.triton.fields import Fields

_NUM_AT_ONCE = 4
_LONG_BYTES = 1 << 16
_MOST_NAME_BYTES = 256


class TextPrompts:
    """Encodes text_input, or the conversation in messages.

    Prompts are encoded concurrently (the tokenizers library releases the interpreter lock), so a
    long prompt or a slow chat template delays no short prompt. Long prompts are encoded one after
    the other, since each takes memory.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, max_seq_len: int, sources: SourceTexts | None = None
    ) -> None:
        """max_seq_len, sources: see `PromptEncoder`."""
        self._encoder = PromptEncoder(tokenizer, max_seq_len=max_seq_len, sources=sources)
        self._texts = ThreadPoolExecutor(_NUM_AT_ONCE, thread_name_prefix="texts")
        self._chats = ThreadPoolExecutor(_NUM_AT_ONCE, thread_name_prefix="chats")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="long prompts")

    @classmethod
    def of_plan(cls, tokenizer: Tokenizer, plan: EnginePlan) -> TextPrompts:
        """Encodes the prompts of an engine."""
        sources = sources_of(tokenizer, plan)
        return cls(tokenizer, max_seq_len=plan.limits.max_seq_len, sources=sources)

    def run(self, fields: Fields, work: Callable[[], None]) -> None:
        """Does work that encodes these fields in the threads for prompts of their size and kind.

        work: must not raise.
        """
        lane = self._chats if fields.has("messages") else self._texts
        if fields.num_text_bytes() > _LONG_BYTES:
            lane = self._long
        lane.submit(work)

    def encode(self, fields: Fields) -> EncodedPrompt:
        """Returns the tokens of the prompt; raises InvalidRequestError."""
        self._encoder.check_bytes(fields.num_bytes("text_input"), "text_input")
        for name in ("messages", *CHAT_OBJECTS):
            self._encoder.check_json_bytes(fields.num_bytes(name), name)
        fields.check_texts("chat_template", most=1, most_bytes=4 * MAX_TEMPLATE_CHARACTERS)
        given = fields.texts("text_input")
        text = "".join(given)
        messages = "".join(fields.texts("messages"))
        if not messages:
            refuse_chat_inputs(fields)
            if not given:
                raise InvalidRequestError("text_input is missing", hint="send it, or messages")
            if not text:
                raise InvalidRequestError("text_input is empty")
            whole = fields.boolean("add_special_tokens") is not False
            return self._encoder.encode_prompt(
                text, self._asked(fields), name="text_input", add_special_tokens=whole
            )
        if text:
            raise InvalidRequestError(
                "text_input must be left out, or be empty, where messages is given"
            )
        if fields.boolean("add_special_tokens"):
            raise InvalidRequestError(
                "add_special_tokens is for text_input; a chat template writes its own"
            )
        if self._asked(fields):
            raise InvalidRequestError(
                "task, languages and decoder_text_input go with text_input alone, not with messages"
            )
        return EncodedPrompt(
            self._encoder.encode_chat(conversation(messages), chat_options(fields))
        )

    def _asked(self, fields: Fields) -> TextTask:
        self._encoder.check_bytes(fields.num_bytes("decoder_text_input"), "decoder_text_input")
        for tensor in TASK_INPUTS:
            fields.check_texts(tensor.name, most=1, most_bytes=_MOST_NAME_BYTES)
        task, source, target = (fields.text(tensor.name) for tensor in TASK_INPUTS)
        return TextTask(
            name=task,
            source_language=source,
            target_language=target,
            decoder_text=fields.text("decoder_text_input"),
        )

    def close(self) -> None:
        """Waits for all accepted work, and accepts no more."""
        for lane in (self._texts, self._chats, self._long):
            lane.shutdown()
