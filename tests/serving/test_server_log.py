"""What the launcher reads in a server's log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from llmasos.errors import ServerError
from llmasos_serving.triton.server_log import ServerLog


@pytest.fixture
def log() -> Iterator[ServerLog]:
    one = ServerLog()
    yield one
    one.close()


def write(log: ServerLog, text: str) -> None:
    log.stream.write(text.encode())


def test_it_says_which_models_are_loaded(log: ServerLog) -> None:
    write(log, "I1124 1 model_lifecycle.cc:839] \"successfully loaded 'tokenizer'\"\n")
    assert log.loaded() == {"tokenizer"}
    assert log.failure() is None


def test_it_tells_that_another_program_took_a_port(log: ServerLog) -> None:
    write(log, "I1124 1 started\n")
    assert not log.lost_a_port()
    write(
        log,
        "E1124 2 \"failed to start HTTP service: Unavailable - Socket '[::1]:80' already in"
        ' use "\nSignal (15) received.\n',
    )
    assert log.lost_a_port()
    said = "another program took [::1]:80 while the models were loaded"
    assert str(log.failure()) == said


def test_it_names_what_the_user_named_and_not_the_links_to_it(log: ServerLog) -> None:
    log.show(Path("/run/repository"), Path("/home/José"))
    write(log, "Failed to preinitialize Python stub: /run/repository/engine is damaged\n")
    assert str(log.failure()).endswith("cannot start: /home/José/engine is damaged")


def test_without_a_known_cause_it_gives_what_happened_and_the_first_error(log: ServerLog) -> None:
    write(
        log,
        'E1126 05:32:20.213391 39 server.cc:241] "CudaDriverHelper has not been initialized."\n'
        'E1126 05:32:20.437819 39 server.cc:300] "the sky fell"\n'
        'E1126 05:32:20.437820 39 server.cc:301] "and more"\n',
    )
    assert str(log.error("it ended")) == "it ended: the sky fell"


def test_without_any_error_it_gives_the_last_lines(log: ServerLog) -> None:
    write(log, "one\n\n two\n")
    assert str(log.error("it ended")) == "it ended: one / two"


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
