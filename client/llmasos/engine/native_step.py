"""The arguments of a native engine's step: one int64 array of numbers and addresses."""

from __future__ import annotations

from enum import IntEnum, auto


class StepField(IntEnum):
    """Where each argument is in the array.

    The network: LAYERS; HIDDEN, INTER, VOCAB_BLOCKS are padded sizes, the last in blocks of
    32; TRUE_HIDDEN, TRUE_HEAD, VOCAB the sizes without padding; HEADS, KV_HEADS; EPS the bits
    of an f32. EMBEDDING to EMBEDDING_NORM_BIAS are addresses (`FileField`); LAYER_TABLE that of one
    row of addresses for each layer (`LayerField`).

    The step: ROWS tokens of SEQS sequences, of which SAMPLES are sampled. Addresses of int32
    arrays: TOKENS and POSITIONS [ROWS]; SEQ_START [SEQS + 1], the first row of each sequence;
    TABLES [SEQS][MAX_BLOCKS], its KV blocks; SAMPLE_ROWS [SAMPLES]. LOGITS: address of f32
    [SAMPLES][32 * VOCAB_BLOCKS], or 0 to have the likeliest tokens in BEST,
    [THREADS][SAMPLES][BEST_BYTES].

    Memory: KV, the cache [LAYERS][KV_BLOCKS][KV_HEADS] of blocks; activations X, QKV (later what
    a part adds before its norm), ACT, ATTN, MID; of each thread OWN, TEMP and SCRATCH, at steps of
    so many bytes (_SIZE).

    Threads: THREADS; addresses of counters on cache lines of their own: GO (steps begun),
    BARRIER (arrivals, and behind it those that sleep there), ASLEEP (threads that sleep until
    the next step), STOP; COUNTERS one for each layer; BASE, arrivals when the step began;
    TIMEOUT, of the longest sleep at once; LANES, the numbers 0 to 15.
    """

    THREADS = 0
    ROWS = auto()
    SEQS = auto()
    SAMPLES = auto()
    LAYERS = auto()
    HIDDEN = auto()
    TRUE_HIDDEN = auto()
    INTER = auto()
    HEADS = auto()
    KV_HEADS = auto()
    TRUE_HEAD = auto()
    VOCAB = auto()
    VOCAB_BLOCKS = auto()
    EPS = auto()
    EMBEDDING = auto()
    EMBEDDING_SCALE = auto()
    HEAD = auto()
    HEAD_SCALE = auto()
    FINAL_NORM = auto()
    FINAL_NORM_BIAS = auto()
    POSITION_TABLE = auto()
    EMBEDDING_NORM = auto()
    EMBEDDING_NORM_BIAS = auto()
    LAYER_TABLE = auto()
    TOKENS = auto()
    POSITIONS = auto()
    SEQ_START = auto()
    TABLES = auto()
    SAMPLE_ROWS = auto()
    LOGITS = auto()
    BEST = auto()
    KV = auto()
    KV_BLOCKS = auto()
    MAX_BLOCKS = auto()
    X = auto()
    QKV = auto()
    ACT = auto()
    ATTN = auto()
    MID = auto()
    OWN = auto()
    OWN_SIZE = auto()
    TEMP = auto()
    TEMP_SIZE = auto()
    SCRATCH = auto()
    SCRATCH_SIZE = auto()
    GO = auto()
    BARRIER = auto()
    ASLEEP = auto()
    STOP = auto()
    COUNTERS = auto()
    BASE = auto()
    TIMEOUT = auto()
    LANES = auto()
