"""The threads of a native engine: how many, on which cores, and what happens when one is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import needs_native  # noqa: F401
import pytest
from llmasos.errors import EngineStoppedError, ForkedProcessError
from llmasos_runtime.native import cores
from llmasos_runtime.native.forward import NativeForward
from native_plans import SMALL_LLAMA, build, loaded, packed, random_weights, spec_of

ROW = packed([([1, 2, 3], 0, [0])])


@pytest.fixture(scope="module")
def plan_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plan")
    spec = spec_of(SMALL_LLAMA)
    plan = build(spec, random_weights(spec), directory)
    plan.write(directory)
    return directory


@pytest.fixture
def forward(plan_dir: Path) -> Iterator[NativeForward]:
    from llmasos.engine.plan import EnginePlan

    with loaded(EnginePlan.read(plan_dir), plan_dir, num_threads=3) as made:
        yield made


def test_a_thread_that_ended_is_an_error_and_no_hang(forward: NativeForward) -> None:
    assert forward.likeliest(ROW) is not None
    forward._team._control.stop()
    for worker in forward._team._workers:
        worker.join()
    with pytest.raises(EngineStoppedError, match="a thread of the native engine has ended"):
        forward.likeliest(ROW)


def test_a_thread_that_ends_during_a_step_is_an_error_and_no_hang(
    forward: NativeForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = forward._team._control
    monkeypatch.setattr(threading.Thread, "is_alive", lambda _: True)
    control.stop()
    for worker in forward._team._workers:
        worker.join()
    control._stop[0] = 0  # as if they were there: the step waits for them at its first barrier
    threading.Timer(0.2, control.stop).start()
    with pytest.raises(EngineStoppedError):
        forward.likeliest(ROW)


def test_a_core_that_may_not_be_used_is_named(
    plan_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmasos.engine.plan import EnginePlan
    from llmasos_runtime.native.load import load_native_model

    monkeypatch.setattr("llmasos_runtime.native.load.cores_to_stay_on", lambda: (0, 4000))
    plan = EnginePlan.read(plan_dir)
    model = load_native_model(plan, plan_dir, num_threads=2, pin_threads=True)
    made = model.forward(num_blocks=8)
    for worker in made._team._workers:
        worker.join()
    with pytest.raises(EngineStoppedError, match="cannot stay on core 4000"):
        made.likeliest(ROW)
    made.close()


def test_a_forked_process_is_refused(forward: NativeForward) -> None:
    forward.likeliest(ROW)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            forward.likeliest(ROW)
        except ForkedProcessError:
            os.write(write, b"refused")
        finally:
            forward.close()
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 100) == b"refused"
    os.close(read)
    assert forward.likeliest(ROW) is not None


def test_the_workers_stay_on_their_cores(plan_dir: Path) -> None:
    from llmasos.engine.plan import EnginePlan
    from llmasos_runtime.native.load import load_native_model

    model = load_native_model(EnginePlan.read(plan_dir), plan_dir, num_threads=2, pin_threads=True)
    made = model.forward(num_blocks=8)
    made.likeliest(ROW)
    assert model.cores is not None
    (worker,) = made._team._workers
    assert worker.native_id is not None
    assert os.sched_getaffinity(worker.native_id) == {model.cores[1 % len(model.cores)]}
    made.close()


def test_a_quota_of_the_container_bounds_the_threads(tmp_path: Path) -> None:
    free = cores.num_usable_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores.num_usable_cores(tmp_path) == free
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cores.num_usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cores.num_usable_cores(tmp_path) == 1


def test_threads_of_one_core_come_after_the_first_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for cpu, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{siblings}\n")
    assert cores.cores_to_stay_on(tmp_path) == (0, 2, 1, 3)


def test_an_idle_engine_sleeps(forward: NativeForward) -> None:
    import time

    forward.likeliest(ROW)
    time.sleep(0.05)  # the workers spin for a moment
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
