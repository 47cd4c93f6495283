"""Machine code of a plan, linked into this process. No compiler runs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.native_engine import CPU_KINDS, FORMAT, NativeCode, NativeRecord
from llmasos.engine.plan import EnginePlan
from llmasos.errors import PlanError

StepFunction = Callable[[Any, Any, int, int], int]
"""enter(result, exception, thread, arguments), as numba calls functions; all are addresses."""
_PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)
_ELF64 = b"\x7fELF\x02\x01"
_RELOCATABLE_X86_64 = b"\x01\x00\x3e\x00"
_linked: list[Any] = []
"""Code stays until the process ends: threads may be in it."""


def native_record(plan: EnginePlan) -> NativeRecord:
    """What the plan says of its files; raises PlanError if this release does not read them."""
    record = plan.native
    assert record is not None
    if record.format != FORMAT:
        raise PlanError(
            f"{plan.name} has native code of format {record.format}, this release runs {FORMAT}",
            hint="build it again with `llmasos build --target native`",
        )
    return record


def code_for_this_machine(plan: EnginePlan) -> NativeCode:
    """Raises PlanError if the plan has no code that this processor runs, or nothing links it."""
    record, kind = native_record(plan), this_cpu_kind()
    if kind is None or kind not in record.code:
        here = "none of them" if kind is None else kind
        raise PlanError(
            f"{plan.name} has machine code for {', '.join(record.code)}, this processor is {here} "
            f"(known kinds: {', '.join(CPU_KINDS)})",
            hint="build it on this machine with `llmasos build --target native`, or for openvino",
        )
    if find_spec("llvmlite") is None:
        raise PlanError(
            "llvmlite, which links native code, is not installed",
            hint="pip install llvmlite",
        )
    return record.code[kind]


def link(path: Path, symbol: str) -> StepFunction:
    """The function of an object file; calling it lets go of Python's lock."""
    from llvmlite import binding  # noqa: PLC0415

    content = path.read_bytes()
    if content[:6] != _ELF64 or content[16:20] != _RELOCATABLE_X86_64:  # LLVM would crash
        raise PlanError(f"{path} is no machine code that can be linked")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    address = engine.get_function_address(symbol)
    if not address:
        raise PlanError(f"{path} has no function {symbol}")
    _linked.append(engine)
    return _PROTOTYPE(address)
