"""Importing the client package stays light: no torch, no compiler, no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "openvino", "tritonclient", "pytriton", "grpc", "numpy")


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import llmasos",
        "from llmasos import SamplingParams, EnginePlan, Generation",
        "import llmasos_app.cli.app",
    ],
)
def test_importing_the_client_loads_nothing_heavy(statement: str) -> None:
    loaded = modules_loaded_by(statement)
    assert "llmasos" in loaded
    assert not loaded & {*HEAVY, "llmasos_builder", "llmasos_runtime"}


def test_the_client_of_a_server_needs_no_compiler() -> None:
    loaded = modules_loaded_by("from llmasos import TritonClient")
    assert "tritonclient" in loaded
    assert not loaded & {"torch", "openvino", "llmasos_builder", "llmasos_runtime"}


@pytest.mark.parametrize(
    ("package", "other"),
    [("llmasos_builder", "llmasos_runtime"), ("llmasos_runtime", "llmasos_builder")],
)
def test_builder_and_runtime_do_not_load_each_other(package: str, other: str) -> None:
    code = (
        f"import importlib, pkgutil, {package}\n"
        f"for module in pkgutil.walk_packages({package}.__path__, '{package}.'):\n"
        "    try:\n"
        "        importlib.import_module(module.name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        if error.name not in ('numba', 'llvmlite'): raise"  # of an extra
    )
    assert other not in modules_loaded_by(code)


def test_the_product_does_not_load_torch() -> None:
    loaded = modules_loaded_by(
        "import llmasos_builder.build, llmasos_runtime.engine.engine, llmasos_app.llm"
    )
    assert not loaded & {"torch", "transformers"}


def test_every_public_name_can_be_imported() -> None:
    import llmasos

    for name in llmasos.__all__:
        assert getattr(llmasos, name) is not None
