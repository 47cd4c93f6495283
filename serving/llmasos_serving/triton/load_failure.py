"""Why a server does not start, in one line: the first cause in its log, not what followed.

Each cause below ends the start. What Triton writes after it (models that are unloaded, a
timeout that counts down) says nothing more, and what it writes before it says on every
machine without a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from llmasos import errors

_TO_END_OF_LINE = r"(?P<said>[^\n]*)"
_ERROR_LINE = re.compile(r"^E\d{4} [^\]\n]*\] " + _TO_END_OF_LINE, re.MULTILINE)
_WITHOUT_A_GPU = re.compile(r"Cuda|CUDA|pinned")
_STUB_DIED = re.compile(r"Stub process '(?P<model>.+)_\d+_\d+' is not healthy")
_PYTHON_ERROR = re.compile(r": (\w+Error): ")
_PARSE_ERROR = re.compile(r"Error parsing text-format inference\.ModelConfig: (\d+):(\d+): (.*)")
_MEMORY = "free memory, or take less of it for the KV cache with --kv-cache-bytes"
_HINTS = (
    (re.compile(r"MemoryError|bad_alloc|Cannot allocate memory"), _MEMORY),
    (
        re.compile(r"ImportError|ModuleNotFoundError|shared librar|cannot open shared object"),
        "Triton runs the models with the Python and the packages that run `llmasos serve`",
    ),
    (re.compile(r"config\.pbtxt"), "`llmasos build` writes it anew"),
    (
        re.compile(r"ended while it was loaded"),
        "the kernel ends what takes more memory than there is: see `dmesg`",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """message: one line. hint: what to do about it, where that is known."""

    message: str
    hint: str | None


def find_failure(text: str) -> LoadFailure | None:
    """The first cause in the text of a log, or None while there is none."""
    found = [
        (match.start(), tell(match)) for cause, tell in _CAUSES for match in cause.finditer(text)
    ]
    if not found:
        return None
    _, said = min(found)
    message, _, stack = said.partition(r"\n\nAt:\n")
    message = _one_line(message)
    kind = _PYTHON_ERROR.search(message)
    if kind is not None and hasattr(errors, kind[1]):  # it says by itself what to do
        return LoadFailure(message=message.replace(kind[0], ": ", 1), hint=None)
    place = _one_line(stack.partition(r"\n")[0])
    message = f"{message} (at {place})" if place else message
    hint = next((hint for pattern, hint in _HINTS if pattern.search(message)), None)
    return LoadFailure(message=message, hint=hint)


def first_error(text: str) -> str | None:
    """The first line that Triton calls an error; it may not be what ended the server."""
    for match in _ERROR_LINE.finditer(text):
        if not _WITHOUT_A_GPU.search(match["said"]):
            return _one_line(match["said"])
    return None


def _port(match: re.Match[str]) -> str:
    return f"another program took {match['said']} while the models were loaded"


def _version(match: re.Match[str]) -> str:
    said = match["said"]
    died = _STUB_DIED.search(said)
    if died is not None:
        return f"the process of the model {died['model']} ended while it was loaded"
    said = re.sub(r"^(Internal|Invalid argument|Unsupported|Not found): ", "", said)
    return f"the model {match['model']} does not load: {said}"


def _model(match: re.Match[str]) -> str:
    return f"the model {match['model']} does not load: {match['said']}"


def _config(match: re.Match[str]) -> str:
    """A file that cannot be parsed: what is wrong in it stands before, in no form of Triton's."""
    parse_errors = list(_PARSE_ERROR.finditer(match.string, 0, match.start()))
    parse_error = parse_errors[-1] if parse_errors else None
    where = "" if parse_error is None else f", line {parse_error[1]}, column {parse_error[2]}"
    reason = "it cannot be read" if parse_error is None else parse_error[3]
    return f"{match['path']}{where}: {reason}"


def _ensemble(match: re.Match[str]) -> str:
    return f"the ensemble needs {match['said']}, which the repository does not have"


def _python(match: re.Match[str]) -> str:
    return f"a Python process of Triton cannot start: {match['said']}"


def _crash(match: re.Match[str]) -> str:
    return f"a process of Triton ended: {match['said']}"


_CAUSES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"Socket '(?P<said>[^']+)' already in use"), _port),
    (re.compile(r"failed to load '(?P<model>[^']+)' version \d+: " + _TO_END_OF_LINE), _version),
    (re.compile(r"failed to load model '(?P<model>[^']+)': " + _TO_END_OF_LINE), _model),
    (
        re.compile(
            r"Poll failed for model directory '(?P<model>[^']+)': "
            r"(?!failed to read text proto)" + _TO_END_OF_LINE
        ),
        _model,
    ),
    (re.compile(r'failed to read text proto from (?P<path>[^"\n]+)'), _config),
    (re.compile(r'contains models that are not available[^:\n]*: (?P<said>[^"\n]+)'), _ensemble),
    (re.compile(r"Failed to preinitialize Python stub: " + _TO_END_OF_LINE), _python),
    (re.compile(r"Fatal Python error: " + _TO_END_OF_LINE), _python),
    (re.compile(r"error while loading shared libraries: " + _TO_END_OF_LINE), _python),
    (re.compile(r"^ *what\(\): +" + _TO_END_OF_LINE, re.MULTILINE), _crash),
)


def _one_line(said: str) -> str:
    """Without the quotes and escapes of the log."""
    said = said.replace(r"\n", " ").replace(r"\"", '"').replace(": <EMPTY MESSAGE>", "")
    return " ".join(said.strip(' "').split())
