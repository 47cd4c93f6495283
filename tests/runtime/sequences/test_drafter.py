"""What is guessed of a text, and how sure the guesses are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos_runtime.sequences.drafter import Drafter, Price

TEXT = [*range(10, 30), 1]  # and then its beginning again


def grown(prompt: list[int], answer: list[int]) -> tuple[list[int], Drafter]:
    """A sequence whose drafter was asked after each token of the answer."""
    tokens = list(prompt)
    drafter = Drafter(tokens)
    drafter.propose(most=1, price=Price(0, 0.01))
    for token in answer:
        tokens.append(token)
        drafter.propose(most=1, price=Price(0, 0.01))
    return tokens, drafter


def test_what_followed_the_last_tokens_before_is_guessed() -> None:
    _, drafter = grown(TEXT, [10, 11, 12])
    assert drafter.propose(most=4, price=Price(0, 0.05)) == (13, 14, 15, 16)
    assert drafter.propose(most=0, price=Price(0, 0.05)) == ()


def test_nothing_is_guessed_of_a_text_that_does_not_repeat() -> None:
    _, drafter = grown(TEXT, [90, 91, 92])
    assert drafter.propose(most=4, price=Price(0, 0.01)) == ()


def test_the_longest_match_decides_and_of_those_the_latest() -> None:
    _, drafter = grown([1, 2, 3, 50, 8, 8, 2, 3, 70, 9], [1, 2, 3])
    assert drafter.propose(most=1, price=Price(0, 0.01)) == (50,)
    _, drafter = grown([1, 2, 3, 50, 8, 1, 2, 3, 60, 9], [1, 2, 3])
    assert drafter.propose(most=1, price=Price(0, 0.01)) == (60,)


def test_drafts_must_bring_what_they_cost_as_a_whole() -> None:
    _, drafter = grown(TEXT, [10, 11, 12, 13])  # each with a chance of 0.6
    assert len(drafter.propose(most=9, price=Price(0.5, 0.1))) == 4
    assert drafter.propose(most=9, price=Price(1.0, 0.1)) == ()


def test_a_guess_reaches_over_the_end_of_the_text_in_circles() -> None:
    _, drafter = grown([5, 6, 7], [5, 6, 7, 5])
    assert drafter.propose(most=7, price=Price(0, 0.01)) == (6, 7, 5, 6, 7, 5, 6)


def test_the_more_right_guesses_the_longer_the_next() -> None:
    lengths = [
        len(grown(TEXT, TEXT[:n])[1].propose(most=50, price=Price(0, 0.1))) for n in (2, 4, 8, 18)
    ]
    assert lengths == sorted(set(lengths))


def test_wrong_guesses_end_guessing_and_right_ones_begin_it_again_without_a_try() -> None:
    prompt = [n for k in range(100) for n in (k + 100, 1, 2, 3)]
    tokens, drafter = grown([*prompt, 7, 8, 9], [])
    answer = [n for k in range(30) for n in (k + 300, 1, 2, 3)]  # what follows 1 2 3 is always new
    tokens, drafter = grown(prompt, answer)
    assert drafter.propose(most=9, price=Price(0, 0.1)) == ()
    for token in [*prompt[:80]]:
        tokens.append(token)
        drafter.propose(most=1, price=Price(0, 1.0))  # never more than a look
    assert len(drafter.propose(most=9, price=Price(0, 0.1))) == 9


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 40))
def test_reading_token_by_token_is_reading_at_once(tokens: list[int], num_prompt: int) -> None:
    num_prompt = min(num_prompt, len(tokens))
    _, slow = grown(tokens[:num_prompt], tokens[num_prompt:])
    sequence = tokens[:num_prompt]
    fast = Drafter(sequence)
    sequence += tokens[num_prompt:]
    guesses = slow.propose(most=9, price=Price(0, 0.01))
    assert guesses == fast.propose(most=9, price=Price(0, 0.01))
    if guesses:
        places = [i for i in range(1, len(tokens)) if tokens[i - 1] == tokens[-1]]
        assert guesses[0] in {tokens[place] for place in places}
