"""Refuses prompts that are empty or too long, or hold what is no token."""

from __future__ import annotations

from llmasos.errors import InvalidRequestError


def check_prompt_length(num_tokens: int, *, max_seq_len: int) -> None:
    """Raises InvalidRequestError for a prompt that leaves no room for one token of an answer."""
    longest = max_seq_len - 1
    if num_tokens > longest:
        raise InvalidRequestError(
            f"the prompt has {num_tokens} tokens, at most {longest} fit: max_seq_len is "
            f"{max_seq_len}, and one is left for the answer"
        )


def check_prompt(prompt: tuple[int, ...], *, vocab_size: int, max_seq_len: int) -> None:
    """Raises InvalidRequestError for a prompt that an engine with these limits cannot take."""
    if not prompt:
        raise InvalidRequestError("the prompt is empty: it must have at least one token")
    check_prompt_length(len(prompt), max_seq_len=max_seq_len)
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        wrong = next(i for i in prompt if not 0 <= i < vocab_size)
        raise InvalidRequestError(
            f"the prompt holds token {wrong}, token ids are between 0 and {vocab_size - 1}"
        )
