"""From the kernels to an object file for one kind of processor.

numba compiles the step and optimizes it; LLVM makes the object for the kind that is asked for,
whatever processor this is. Its only outside symbol is `syscall`.
"""

from __future__ import annotations

from functools import lru_cache

from llmasos.engine.native_engine import CPU_KINDS, STEP_SYMBOL
from llvmlite import binding
from numba import types

from llmasos_builder.native.shape import StepShape
from llmasos_builder.native.step import make_step

_TRIPLE = "x86_64-unknown-linux-gnu"


@lru_cache(maxsize=8)
def compile_step(shape: StepShape, kind: str) -> bytes:
    """Returns an object file of the step: the function `STEP_SYMBOL`.

    Compiling takes ten seconds, once in a process for each shape (`code_cache` for more).
    """
    enter = make_step(shape, kind)
    enter.compile((types.int64, types.int64))  # type: ignore[attr-defined]  # a numba function
    compiled = next(iter(enter.overloads.values()))  # type: ignore[attr-defined]
    module = binding.parse_assembly(compiled.library.get_llvm_str())
    name = compiled.fndesc.llvm_func_name
    module.get_function(name).name = STEP_SYMBOL
    cpu = CPU_KINDS[kind]
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(_TRIPLE).create_target_machine(
        cpu=cpu.llvm_cpu, features=cpu.llvm_features, opt=3, reloc="default", codemodel="jitdefault"
    )
    module.triple = _TRIPLE
    return bytes(machine.emit_object(module))
