"""Buckets of relative positions as T5 has them (Raffel et al., arXiv:1910.10683, section 2.1)."""

from __future__ import annotations

import numpy as np

from llmasos_builder.architectures.encoder.spec import Distances


def distance_buckets(num_buckets: int, *, farthest: int, both_ways: bool = True) -> Distances:
    """Returns the buckets of a layer's distances.

    farthest: the distance from which all share the last bucket. both_ways: half of the buckets are
    for keys behind their query; else those share the bucket of distance 0.
    """
    one_way = num_buckets // 2 if both_ways else num_buckets
    exact = one_way // 2

    def bucket(distance: int) -> int:
        first = one_way if both_ways and distance > 0 else 0
        far = abs(distance) if both_ways else max(-distance, 0)
        if far < exact:
            return first + far
        # In float32, as transformers computes it: a rounded logarithm decides between neighbours.
        ratio = np.log(np.float32(far) / np.float32(exact)) / np.float32(np.log(farthest / exact))
        return first + min(exact + int(ratio * np.float32(one_way - exact)), one_way - 1)

    return Distances(num_buckets=num_buckets, reach=farthest, bucket=bucket)
