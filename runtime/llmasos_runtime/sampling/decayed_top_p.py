"""top_p that decays as the output grows, as TensorRT-LLM's runtime has it.

"Factual-nucleus sampling" (Lee et al., arXiv:2206.04624): after each token top_p is multiplied by
top_p_decay, down to top_p_min; after the token top_p_reset_ids it is whole again.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmasos.sampling import SamplingParams


def decayed_top_p(
    params: SamplingParams, token_ids: Sequence[int], *, begin: int, drafts: Sequence[int] = ()
) -> float:
    """Returns the top_p of the token behind these. begin: where the output begins."""
    if params.top_p_decay == 1.0 and params.top_p_min <= params.top_p:
        return params.top_p
    count = _num_since_reset(params.top_p_reset_ids, [*token_ids[begin:], *drafts])
    if not count:
        return params.top_p
    return max(params.top_p * params.top_p_decay**count, params.top_p_min)


def _num_since_reset(reset_id: int | None, output: list[int]) -> int:
    """The number of tokens at the end of the output, behind the last one that resets."""
    backwards = enumerate(reversed(output))
    return next((count for count, token in backwards if token == reset_id), len(output))
