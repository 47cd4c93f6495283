"""The commands that build an engine, look into it and run it in process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from llmasos.engine.plan import PLAN_FILE, EnginePlan

LLMASOS = str(Path(sys.executable).with_name("llmasos"))
PLAN = Path("engine", "1", "plan")


def llmasos(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LLMASOS, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_build_writes_a_repository_and_says_how_to_serve_it(
    tiny_llama: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = ("--precision", "f32", "--max-seq-len", "64", "--name", "tiny", "--deterministic")
    result = llmasos("build", str(tiny_llama), "--output", str(output), *options)
    assert result.returncode == 0, result.stderr
    assert f"llmasos serve {output}" in result.stdout
    assert "compile ..." in result.stderr
    assert (output / "ensemble" / "config.pbtxt").is_file()
    plan = EnginePlan.load(output / PLAN)
    assert (plan.precision, plan.limits.max_seq_len, plan.name) == ("f32", 64, "tiny")
    assert plan.deterministic


def test_build_reads_and_writes_a_path_of_any_bytes_and_names_it_as_a_shell_must(
    tiny_llama: Path, tmp_path: Path
) -> None:
    checkpoint = shutil.copytree(tiny_llama, tmp_path / "$(touch RAN) \udcff")
    done = subprocess.run(
        [LLMASOS, "build", checkpoint, "--output", "-a $(b)", "--precision", "f32"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("is ready: llmasos serve './-a $(b)'\n")
    plan = EnginePlan.load(tmp_path / "-a $(b)" / "engine" / "1" / "plan")
    assert plan.name == "$(touch RAN) \\xff"
    assert plan.checkpoint.source.endswith("/$(touch RAN) \\xff")


def test_a_missing_checkpoint_is_one_line(tmp_path: Path) -> None:
    result = llmasos("build", str(tmp_path / "none"), "--output", str(tmp_path / "out"))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("amount", "words"),
    [("much", "kv_cache_bytes must be a number of bytes"), ("1kB", "kv_cache_bytes is 1000 bytes")],
)
def test_a_kv_cache_that_cannot_be_is_refused_by_serve(
    tiny_repository: Path, amount: str, words: str
) -> None:
    ports = [f"--{one}-port=0" for one in ("grpc", "http", "metrics", "openai")]
    result = llmasos("serve", str(tiny_repository), "--kv-cache-bytes", amount, *ports)
    assert result.returncode == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["generate --model", "serve", "evaluate --text {0}"])
def test_another_precision_than_that_of_a_built_model_is_refused(
    tiny_repository: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "text").write_text("some text")
    arguments = command.format(tmp_path / "text").split()
    result = llmasos(*arguments, str(tiny_repository), "--precision", "int8")
    assert result.returncode == 1
    said = f"precision is int8, and {tiny_repository} is built in f32; name its checkpoint"
    assert result.stderr == f"error: {said}\n"


def test_inspect_shows_what_is_in_a_plan(tiny_repository: Path) -> None:
    shown = llmasos("inspect", str(tiny_repository)).stdout
    for expected in ("LlamaForCausalLM", "f32", "openvino_model.bin", "tiny-llama", "512 tokens"):
        assert expected in shown


def test_inspect_shows_what_the_checkpoint_recommends(tiny_llama: Path, tmp_path: Path) -> None:
    checkpoint, output = tmp_path / "model", str(tmp_path / "out")
    shutil.copytree(tiny_llama, checkpoint)
    said = {"do_sample": True, "temperature": 0.6, "encoder_no_repeat_ngram_size": 2}
    (checkpoint / "generation_config.json").write_text(json.dumps(said))
    assert llmasos("build", str(checkpoint), "-p", "f32", "--output", output).returncode == 0
    shown = llmasos("inspect", output).stdout
    assert "temperature 0.6, top_k 50" in shown
    assert "encoder_no_repeat_ngram_size 2" in shown
    generate = ("generate", "--model", output, "--max-tokens", "1", "a")
    assert "asks for encoder_no_repeat_ngram_size 2" in llmasos(*generate).stderr
    quiet = llmasos(*generate, "--generation-config", "none")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    unknown = llmasos(*generate, "--generation-config", "some")
    assert "must be one of auto, none, got some" in unknown.stderr


def test_what_is_built_already_is_no_checkpoint(tiny_repository: Path, tmp_path: Path) -> None:
    result = llmasos("build", str(tiny_repository), "--output", str(tmp_path / "out"))
    assert result.returncode == 1
    assert "is built already; serve it, or name its checkpoint" in result.stderr


def test_inspect_prints_the_manifest_as_json(tiny_repository: Path) -> None:
    printed = json.loads(llmasos("inspect", "--json", str(tiny_repository / PLAN)).stdout)
    assert printed == json.loads((tiny_repository / PLAN / PLAN_FILE).read_text())


def test_inspect_counts_the_matrices_that_an_int4_build_keeps_in_int8(
    tiny_llama: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    options = ("--precision", "int4", "--int4-except", "down_proj", "--output", output)
    built = llmasos("build", str(tiny_llama), *options)
    assert built.returncode == 0, built.stderr
    shown = llmasos("inspect", output).stdout
    assert "model.embed_tokens, model.layers.*.mlp.down_proj (2)" in shown
    assert "gate_proj" not in shown


def test_inspect_refuses_a_file_that_changed(tiny_repository: Path, tmp_path: Path) -> None:
    plan_dir = tmp_path / "plan"
    plan_dir.mkdir()
    for file in (tiny_repository / PLAN).iterdir():
        (plan_dir / file.name).write_bytes(file.read_bytes())
    weights = plan_dir / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    result = llmasos("inspect", str(plan_dir))
    assert result.returncode == 1
    assert "openvino_model.bin" in result.stderr
    assert "llmasos build" in result.stderr


def test_generate_runs_a_built_engine_in_process(tiny_repository: Path) -> None:
    arguments = ("generate", "--model", str(tiny_repository), "--max-tokens", "5")
    greedy = llmasos(*arguments, "Hello")
    assert greedy.returncode == 0, greedy.stderr
    printed = json.loads(llmasos(*arguments, "--json", stdin="Hello").stdout)
    assert printed["text"] + "\n" == greedy.stdout
    assert len(printed["token_ids"]) <= 5
