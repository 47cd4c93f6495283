from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.environments import INSTALLED_FILE, Environment, MissingPeerError, last_line
from benchmarks.options import parse_options


def test_peers_keep_the_order_of_the_catalogue() -> None:
    options = parse_options(["--peers", "llama.cpp,llmasos", "--streams", "8,1,8"])
    assert [peer.name for peer in options.peers] == ["llmasos", "llama.cpp"]
    assert options.streams == (1, 8)


def test_quick_is_one_short_round() -> None:
    options = parse_options(["--quick", "--rounds", "9"])
    assert (options.rounds, options.streams, options.new_tokens) == (1, (1, 4), 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "nobody"], "peers has no 'nobody'; it has llmasos, llmasos-triton"),
        (["--rounds", "0"], "rounds must be at least 1, got 0"),
        (["--new-tokens", "1"], "new_tokens must be at least 2, got 1"),
        (["--streams", "0"], "streams must be numbers of at least 1"),
        (["--streams", "many"], "invalid literal for int() with base 10: 'many'"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_options(arguments)
    assert message in capsys.readouterr().err


def test_the_reason_is_the_error_and_not_the_notice_after_it() -> None:
    output = "Collecting x\nERROR: No matching distribution found for x\n[notice] a new pip\n\n"
    assert last_line(output) == "ERROR: No matching distribution found for x"


def test_what_does_not_install_is_missing_and_is_tried_again(tmp_path: Path) -> None:
    environment = Environment(
        directory=tmp_path / "env", requirements=("--no-index", "a-package-that-is-nowhere")
    )
    with pytest.raises(MissingPeerError, match="a-package-that-is-nowhere"):
        environment.ensure()
    assert not (environment.directory / INSTALLED_FILE).exists()
