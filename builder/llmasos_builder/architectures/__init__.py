"""Networks, each written once against `Graph`."""

from __future__ import annotations

from llmasos_builder.architectures.decoder.network import Decoder as Decoder
from llmasos_builder.architectures.decoder.spec import DecoderSpec as DecoderSpec
from llmasos_builder.architectures.matrices import matrices_in_int8 as matrices_in_int8
from llmasos_builder.architectures.network import Network as Network
from llmasos_builder.architectures.supported import decoder_spec as decoder_spec
from llmasos_builder.architectures.supported import network_of as network_of
from llmasos_builder.architectures.supported import (
    warning_of_unread_fields as warning_of_unread_fields,
)

__all__ = [
    "Decoder",
    "DecoderSpec",
    "Network",
    "decoder_spec",
    "matrices_in_int8",
    "network_of",
    "warning_of_unread_fields",
]
