"""What the launcher reads in a server's log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from llmasos.errors import ServerError
from llmasos_runtime.triton.server_log import ServerLog


@pytest.fixture
def log() -> Iterator[ServerLog]:
    one = ServerLog()
    yield one
    one.close()


def write(log: ServerLog, text: str) -> None:
    log.stream.write(text.encode())


def test_it_gives_the_error_of_a_model_that_did_not_load(log: ServerLog) -> None:
    write(
        log,
        "I1124 1 successfully loaded 'tokenizer'\n"
        'E1124 2 "failed to load engine: Internal: PlanError: plan.json is missing\\n\\nAt:\\n x"\n'
        "last line\n",
    )
    assert log.loaded() == {"tokenizer"}
    assert log.reason() == "PlanError: plan.json is missing"


def test_it_tells_that_another_program_took_a_port(log: ServerLog) -> None:
    write(log, "I1124 1 started\n")
    assert not log.lost_a_port()
    write(
        log,
        "E1124 2 \"failed to start HTTP service: Unavailable - Socket '[::1]:80' already in"
        ' use "\nSignal (15) received.\n',
    )
    assert log.lost_a_port()
    assert log.reason() == "another program took [::1]:80 while the models were loaded"


def test_it_names_what_the_user_named_and_not_the_links_to_it(log: ServerLog) -> None:
    log.show(Path("/run/repository"), Path("/home/José"))
    write(log, "/run/repository/engine is damaged\n")
    assert log.reason() == "/home/José/engine is damaged"


def test_what_an_earlier_server_wrote_into_the_same_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("I1124 1 successfully loaded 'tokenizer'\n")
    log = ServerLog(path)
    assert log.loaded() == set()
    write(log, "I1124 1 successfully loaded 'engine'\n")
    assert log.loaded() == {"engine"}
    assert path.read_text().count("loaded") == 2
    log.close()


@pytest.mark.parametrize("name", ["missing/log", "."])
def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ServerError, match="the server's log cannot be written to") as caught:
        ServerLog(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_before_a_server_writes_into_it() -> None:
    with pytest.raises(ServerError, match=r"/dev/full \(No space left on device\)"):
        ServerLog(Path("/dev/full"))
