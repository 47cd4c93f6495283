"""Given drafts are proposed as long as the output is what they say."""

from __future__ import annotations

from llmasos_runtime.sequences.drafter import Drafter, Price
from llmasos_runtime.sequences.given_drafts import GivenDrafts

PRICE = Price(first=1.0, each=1.0)


def test_the_rest_is_proposed_while_the_output_is_its_beginning() -> None:
    token_ids = [1, 2]
    drafts = GivenDrafts(token_ids, [5, 6, 7, 8])
    assert drafts.propose(most=3, price=PRICE) == (5, 6, 7)
    token_ids.append(5)
    assert drafts.propose(most=2, price=PRICE) == (6, 7)
    token_ids += [6, 7]
    assert drafts.propose(most=9, price=PRICE) == (8,)
    token_ids.append(8)
    assert drafts.propose(most=9, price=PRICE) == ()


def test_after_another_token_nothing_of_it_is_proposed_again() -> None:
    token_ids = [1, 2]
    drafts = GivenDrafts(token_ids, [5, 6, 7])
    token_ids.append(4)
    assert drafts.propose(most=9, price=PRICE) == ()
    token_ids += [6]
    assert drafts.propose(most=9, price=PRICE) == ()


def test_prompt_lookup_goes_on_where_they_end() -> None:
    token_ids = [1, 2, 3, 4, 1, 2, 3]
    drafts = GivenDrafts(token_ids, [9], after=Drafter(token_ids))
    assert drafts.propose(most=2, price=PRICE) == (9,)
    token_ids += [4, 1, 2, 3]
    assert drafts.propose(most=2, price=Price(first=0.01, each=0.01)) == (4, 1)
