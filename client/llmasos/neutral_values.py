"""Fields of a generation config that are not applied, and what they hold where that is right."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NEUTRAL: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "encoder_repetition_penalty": (1.0,),
        "encoder_no_repeat_ngram_size": (0,),
        "force_words_ids": ([],),
        "constraints": ([],),
        "sequence_bias": ({}, []),
        "forced_bos_token_id": (),
        "forced_decoder_ids": ([],),
        "exponential_decay_length_penalty": (),
        "guidance_scale": (1.0,),
        "typical_p": (1.0,),
        "top_h": (1.0,),
        "epsilon_cutoff": (0.0,),
        "eta_cutoff": (0.0,),
        "penalty_alpha": (0.0,),
        "num_beam_groups": (1,),
        "diversity_penalty": (0.0,),
        "num_return_sequences": (1,),
        "token_healing": (False,),
        "watermarking_config": (),
        "dola_layers": (),
        "max_time": (),
        "xtc_probability": (0.0,),
        "mirostat": (0,),
    }
)
"""Fields that would change an answer but are not applied, with the values that have no effect.

null never has an effect. The last two fields are those of GGUF files (`general.sampling.*`).
"""
