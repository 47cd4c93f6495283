"""Chooses the compiler for this machine's CPU where the target is auto: native or openvino."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.plan import PRECISIONS, Limits, Target
from llmasos.errors import PlanError, UnsupportedArchitectureError

from llmasos_builder.architectures import Network
from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.checkpoint import Weights
from llmasos_builder.int4_layout import why_codes_are_lost
from llmasos_builder.options import BuildOptions


def settle_target(
    options: BuildOptions, network: Network, limits: Limits, weights: Weights | None = None
) -> tuple[BuildOptions, str | None]:
    """Returns the options with a target in place of auto, and why it is not native.

    network: for sequences of `limits.max_seq_len`. weights: of the checkpoint, whose int4 codes a
    native engine may be unable to keep. The reason is None if the target is native or
    was given, and if the options ask for what only openvino has.
    """
    if options.target != "auto":
        return options, None
    if network.cache is None or isinstance(network, EncoderDecoder) or not _may_be_native(options):
        return replace(options, target="openvino"), None
    reason = _why_not_native(network, limits)
    if reason is None and weights is not None and options.precision == "int4":
        reason = why_codes_are_lost(network, weights)
    return replace(options, target="openvino" if reason else "native"), reason


def target_of(options: BuildOptions) -> Target:
    """Returns the target of options that have been settled."""
    assert options.target != "auto", "the target is not settled"
    return options.target


def machine_facts() -> list[str | None]:
    """Returns what the choice depends on besides options and network, as JSON values."""
    return [this_cpu_kind(), *map(_installed, ("numba", "llvmlite"))]


def _may_be_native(options: BuildOptions) -> bool:
    return (
        options.precision in PRECISIONS["native"]
        and options.kv_cache_precision in (None, "u8")
        and not options.int4_except
    )


def _why_not_native(network: Network, limits: Limits) -> str | None:
    # What compiles is imported where something may be compiled.
    from llmasos_builder.native.compile import kind_to_build  # noqa: PLC0415
    from llmasos_builder.native.lower import lower  # noqa: PLC0415

    try:
        kind_to_build()
        lower(network, max_seq_len=limits.max_seq_len)
    except (PlanError, UnsupportedArchitectureError) as error:
        return str(error).removesuffix(f"; {error.hint}")
    return None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
