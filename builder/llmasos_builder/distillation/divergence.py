"""The divergence of a student's logits from the largest of its teacher's.

Of the teacher's distribution over V tokens the k likeliest are kept, and one number for all
others together:

    teacher   p1 p2 … pk | 1 - p1 - … - pk
    student   q1 q2 … qk | 1 - q1 - … - qk      of the same tokens

KL over these k + 1 outcomes is at most the KL over all V. The temperature divides logits before
the softmax; its square keeps gradients as large (Hinton et al., arXiv:1503.02531).
"""

from __future__ import annotations

from typing import Any

from llmasos_builder.distillation.libraries import load_torch

_LEAST = 1e-6


def largest(logits: Any, top_k: int, temperature: float) -> tuple[Any, Any]:
    """Returns ids and log probabilities [..., k] of the likeliest tokens of logits [..., V]."""
    values, ids = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
    total = (logits / temperature).logsumexp(dim=-1, keepdim=True)
    return ids, values / temperature - total


def divergence(logits: Any, ids: Any, log_probs: Any, temperature: float) -> Any:
    """Returns KL(teacher || student) in nats [...], times the temperature's square.

    logits: the student's [..., V]. ids, log_probs: the teacher's [..., k], as of `largest`.
    """
    torch = load_torch()
    scaled = logits / temperature
    student = scaled.gather(-1, ids) - scaled.logsumexp(dim=-1, keepdim=True)
    known = (log_probs.exp() * (log_probs - student)).sum(dim=-1)
    rest = 1 - log_probs.exp().sum(dim=-1)
    rest_of_student = -torch.expm1(student.logsumexp(dim=-1).clamp(max=-_LEAST))
    others = rest * (rest.clamp(min=_LEAST).log() - rest_of_student.log())
    return (known + torch.where(rest > _LEAST, others, 0.0)) * temperature**2
