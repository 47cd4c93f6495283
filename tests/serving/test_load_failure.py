"""The line of a log that says why a server does not start. The texts are Triton 2.51's."""

from __future__ import annotations

import pytest
from llmasos_serving.triton.load_failure import find_failure

BEFORE = """\
W1126 05:31:28.414900 21 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"
E1126 05:31:28.414907 21 server.cc:241] "CudaDriverHelper has not been initialized."
I1126 05:31:28.421373 21 model_lifecycle.cc:839] "successfully loaded 'tokenizer'"
"""
AFTER = """\
E1126 05:32:04.055277 21 model_repository_manager.cc:703] "Invalid argument: ensemble 'ensemble' \
depends on 'engine' which has no loaded version. Model 'engine' loading failed with error: \
version 1 is at UNAVAILABLE state: Internal: x;"
Error: Failed to initialize NVML
I1126 05:32:10.585009 21 server.cc:305] "Waiting for in-flight requests to complete."
I1126 05:32:10.585493 21 server.cc:345] "Timeout 10: Found 2 live models"
error: creating server: Internal - failed to load all models
"""
LIFECYCLE = "E1126 05:32:04.055214 21 model_lifecycle.cc:642] \"failed to load '"
POLL = 'E1126 05:31:28.421373 21 model_repository_manager.cc:1460] "Poll failed for model directory'
CAUSES = {
    "an error of ours": (
        LIFECYCLE + "engine' version 1: Internal: PlanError: parameter kv_cache_bytes must be a "
        "number of at least 1, got 'x'\\n\\nAt:\\n  /r/arguments.py(64): integer\\n  /m.py\\n\"",
        "the model engine does not load: parameter kv_cache_bytes must be a number of at least 1, "
        "got 'x'",
    ),
    "an error of a model": (
        LIFECYCLE + "mine' version 1: Internal: ValueError: one\\ntwo\\n\\nAt:\\n"
        '  /r/mine/1/model.py(17): initialize\\n  /r/b.py(1): x\\n"',
        "the model mine does not load: ValueError: one two (at /r/mine/1/model.py(17): initialize)",
    ),
    "a module that is missing": (
        LIFECYCLE
        + "mine' version 1: Internal: ModuleNotFoundError: No module named 'x'\\n\\nAt:\\n"
        '  /r/mine/1/model.py(4): <module>\\n"',
        "the model mine does not load: ModuleNotFoundError: No module named 'x' "
        "(at /r/mine/1/model.py(4): <module>); Triton runs the models with the Python and the "
        "packages that run `llmasos serve`",
    ),
    "no memory": (
        LIFECYCLE + "engine' version 1: Internal: MemoryError: <EMPTY MESSAGE>\"",
        "the model engine does not load: MemoryError; free memory, or take less of it for the KV "
        "cache with --kv-cache-bytes",
    ),
    "a process that was killed": (
        LIFECYCLE + "engine' version 1: Internal: Stub process 'engine_0_0' is not healthy.\"",
        "the process of the model engine ended while it was loaded; the kernel ends what takes "
        "more memory than there is: see `dmesg`",
    ),
    "a backend that is missing": (
        LIFECYCLE + "mine' version 1: Invalid argument: unable to find backend library for "
        "backend 'onnxruntime'\"",
        "the model mine does not load: unable to find backend library for backend 'onnxruntime'",
    ),
    "a config that cannot be parsed": (
        "[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format "
        "inference.ModelConfig: 7:17: Expected integer, got: {\n"
        f"{POLL} 'tokenizer': failed to read text proto from /r/tokenizer/config.pbtxt\"",
        "/r/tokenizer/config.pbtxt, line 7, column 17: Expected integer, got: {; "
        "`llmasos build` writes it anew",
    ),
    "a config of another model": (
        f"{POLL} 'tokenizer': unexpected directory name 'tokenizer' for model 'other'\"",
        "the model tokenizer does not load: unexpected directory name 'tokenizer' for model "
        "'other'",
    ),
    "a model without a version": (
        'E1126 05:32:38.728721 21 model_repository_manager.cc:724] "failed to load model '
        "'detokenizer': at least one version must be available\"",
        "the model detokenizer does not load: at least one version must be available",
    ),
    "an ensemble of models that are not there": (
        'E1126 05:32:32.543943 21 model_repository_manager.cc:703] "Invalid argument: ensemble '
        'ensemble contains models that are not available or ambiguous: motor"',
        "the ensemble needs motor, which the repository does not have",
    ),
    "no model.py": (
        "I1126 05:31:48.671902 21 pb_stub.cc:2105]  Failed to preinitialize Python stub: Python "
        "model file not found in '/r/tokenizer/1/model.py'",
        "a Python process of Triton cannot start: Python model file not found in "
        "'/r/tokenizer/1/model.py'",
    ),
    "a Python without its library": (
        "/b/triton_python_backend_stub: error while loading shared libraries: "
        "libpython3.11.so.1.0: cannot open shared object file: No such file or directory",
        "a Python process of Triton cannot start: libpython3.11.so.1.0: cannot open shared object "
        "file: No such file or directory; Triton runs the models with the Python and the packages "
        "that run `llmasos serve`",
    ),
    "a Python without its modules": (
        "Fatal Python error: init_fs_encoding: failed to get the Python codec",
        "a Python process of Triton cannot start: init_fs_encoding: failed to get the Python codec",
    ),
    "an abort": (
        "terminate called after throwing one of 'std::bad_alloc'\n  what():  std::bad_alloc",
        "a process of Triton ended: std::bad_alloc; free memory, or take less of it for the KV "
        "cache with --kv-cache-bytes",
    ),
}


def test_a_log_without_a_cause_has_none() -> None:
    assert find_failure(BEFORE + AFTER) is None


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_told_in_one_line_whatever_stands_around_it(name: str) -> None:
    text, said = CAUSES[name]
    found = find_failure(f"{BEFORE}{text}\n{AFTER}")
    assert found is not None
    message = f"{found.message}; {found.hint}" if found.hint else found.message
    assert message == said
    assert "\n" not in message


def test_the_first_of_several_causes_is_told() -> None:
    first, second = (CAUSES[name] for name in ("an error of ours", "a model without a version"))
    found = find_failure(f"{first[0]}\n{second[0]}\n")
    assert found is not None
    assert found.message == first[1]
