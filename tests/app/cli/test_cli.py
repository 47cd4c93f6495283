"""The command line: fast help, one line for an error, exit codes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from fake_triton import PIECES, fake_grpc, fake_http
from llmasos.engine.plan import PRECISIONS as PLAN_PRECISIONS
from llmasos.engine.plan import KVCachePrecision
from llmasos_app.cli.options import KV_CACHE_PRECISIONS, PRECISIONS, PRECISIONS_OF_TARGET

TEXT = "".join(PIECES)


def llmasos(
    *arguments: str, stdin: str = "", timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("llmasos")), *arguments]
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
    )


def test_help_lists_the_commands_and_comes_at_once() -> None:
    times: list[float] = []
    for _ in range(3):
        before = cpu_time_of_children_s()
        result = llmasos("--help")
        times.append(cpu_time_of_children_s() - before)
    assert result.returncode == 0
    for command in ("build", "serve", "generate", "chat", "inspect", "verify", "demo"):
        assert f" {command} " in result.stdout
    # 0.12 s of a processor's time, whatever else it does; the best of three, with room for a
    # slow one.
    assert min(times) < 0.6


def cpu_time_of_children_s() -> float:
    """That have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_version_is_printed() -> None:
    assert llmasos("--version").stdout.startswith("llmasos 0.")


@pytest.mark.parametrize(
    "command", ["build", "serve", "generate", "chat", "inspect", "verify", "demo"]
)
def test_every_command_explains_itself(command: str) -> None:
    result = llmasos(command, "-h")
    assert result.stdout == llmasos(command, "--help").stdout
    assert result.returncode == 0
    assert "Usage: llmasos" in result.stdout


def test_an_error_is_one_line_on_stderr_and_exit_code_1(tmp_path: Path) -> None:
    result = llmasos("inspect", str(tmp_path / "nothing"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "\033" not in result.stderr


def test_bad_sampling_is_an_error_that_names_the_field() -> None:
    result = llmasos("generate", "--url", "grpc://localhost:1", "--top-p", "2", "hello")
    assert result.returncode == 1
    assert "top_p" in result.stderr
    assert "2" in result.stderr


def test_bad_usage_is_exit_code_2() -> None:
    result = llmasos("build", "somewhere", "--output", "x", "--precision", "int3")
    assert result.returncode == 2
    assert "int3" in result.stderr
    assert llmasos("nonsense").returncode == 2


def test_generate_needs_a_model_or_a_server() -> None:
    result = llmasos("generate", "hello")
    assert result.returncode == 1
    assert "--model or --url" in result.stderr


@pytest.mark.parametrize("start", [fake_grpc, fake_http])
def test_generate_asks_a_running_server(start: type) -> None:
    with start() as triton:
        result = llmasos("generate", "--url", triton.url, "--max-tokens", "9", "hello")
        from_stdin = llmasos("generate", "--url", triton.url, stdin="hello")
    assert result.stdout == from_stdin.stdout == f"{TEXT}\n"
    first, second = triton.asked()
    assert (first["max_tokens"], "max_tokens" in second) == (9, False)
    assert first["use_generation_config"] and second["use_generation_config"]
    assert [r["text_input"] for r in triton.asked()] == ["hello", "hello"]


def test_what_a_server_decides_is_refused_with_a_url() -> None:
    for option, value in (("--precision", "f32"), ("--threads", "2"), ("--revision", "main")):
        result = llmasos("generate", "--url", "grpc://localhost:1", option, value, "hello")
        assert result.returncode == 1
        assert result.stderr == f"error: {option} is for --model, a server has its own\n"


def test_generate_prints_json_when_asked() -> None:
    with fake_grpc() as triton:
        result = llmasos("generate", "--url", triton.url, "--json", "hello")
    printed = json.loads(result.stdout)
    assert printed["text"] == TEXT
    assert printed["finish_reason"] == "stop"
    assert printed["usage"]["num_output_tokens"] == 3


def test_generate_says_how_urgent_it_is() -> None:
    with fake_grpc() as triton:
        ask = ("generate", "--url", triton.url, "hello")
        llmasos(*ask, "--priority", "-3", "--deadline-ms", "900")
        refused = llmasos(*ask, "--priority", "101")
    assert [(r["priority"], r["deadline_ms"]) for r in triton.asked()] == [(-3, 900)]
    assert refused.stderr == "error: priority must be between -100 and 100, got 101\n"


def test_generate_takes_a_prompt_that_has_its_special_tokens() -> None:
    with fake_grpc() as triton:
        for more in ((), ("--no-special-tokens",)):
            llmasos("generate", "--url", triton.url, "<s>hello", *more)
    assert [r.get("add_special_tokens") for r in triton.asked()] == [None, False]


def test_chat_answers_one_question_from_stdin() -> None:
    with fake_grpc() as triton:
        result = llmasos("chat", "--url", triton.url, "--system", "Be brief.", stdin="Hi?\n")
    assert result.stdout == f"{TEXT}\n"
    assert json.loads(triton.asked()[0]["messages"]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi?"},
    ]


def test_chat_hands_tools_documents_and_variables_to_the_template(tmp_path: Path) -> None:
    tools, documents = tmp_path / "tools.json", tmp_path / "documents.json"
    tools.write_text('[{"name": "größe"}]', encoding="utf-8")
    documents.write_text('[{"text": "x"}]')
    variables = '{"enable_thinking": false}'
    with fake_grpc() as triton:
        ask = ("chat", "--url", triton.url, "--tools", str(tools))
        more = ("--documents", str(documents), "--chat-template", "tool_use")
        llmasos(*ask, *more, "--chat-template-kwargs", variables, stdin="Hi?\n")
        (asked,) = triton.asked()
        refused = [
            llmasos(*ask, "--chat-template-kwargs", "{", stdin="Hi?\n"),
            llmasos(*ask, "--chat-template-kwargs", "[]", stdin="Hi?\n"),
            llmasos("chat", "--url", triton.url, "--tools", str(tmp_path / "none"), stdin="Hi?\n"),
        ]
        assert len(triton.asked()) == 1
    names = ("tools", "documents", "chat_template_kwargs", "chat_template")
    expected = ['[{"name": "größe"}]', '[{"text": "x"}]', variables, "tool_use"]
    assert [asked[name] for name in names] == expected
    assert [r.returncode for r in refused] == [1, 1, 1]
    assert refused[0].stderr.startswith("error: chat-template-kwargs is not JSON: ")
    assert refused[1].stderr == "error: chat_template_kwargs must be a JSON object, got list\n"
    assert refused[2].stderr.endswith("none cannot be read: No such file or directory\n")


def test_a_server_that_breaks_in_mid_answer_is_exit_code_1() -> None:
    with fake_grpc() as triton:
        result = llmasos("generate", "--url", triton.url, "break")
    assert result.returncode == 1
    assert result.stdout.startswith(PIECES[0])
    assert result.stderr.startswith("error: ")


def test_the_command_line_knows_every_precision() -> None:
    by_target = dict(PRECISIONS_OF_TARGET)
    assert by_target.pop("auto") == PLAN_PRECISIONS["openvino"]
    assert by_target == PLAN_PRECISIONS
    assert PRECISIONS_OF_TARGET["openvino"] == PRECISIONS
    assert get_args(KVCachePrecision) == KV_CACHE_PRECISIONS
