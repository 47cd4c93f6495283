"""What the demo prints and measures, against a fake server."""

from __future__ import annotations

import pytest
from fake_triton import PIECES, fake_grpc
from llmasos import SamplingParams, TritonClient, Usage
from llmasos.errors import EngineStoppedError
from llmasos_app.demo import Timing, answer


def test_the_answer_is_printed_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_grpc() as triton, TritonClient(triton.url) as client:
        timing = answer(client, "hello", params=SamplingParams(max_tokens=7))
    assert capsys.readouterr().out == "".join(PIECES) + "\n\n"
    assert 0 < timing.ttft_s <= timing.total_s
    assert timing.usage.num_output_tokens == 3
    assert triton.asked()[0]["messages"] == '[{"role": "user", "content": "hello"}]'


def test_tokens_per_second_leave_out_the_first_token_and_its_wait() -> None:
    usage = Usage(num_prompt_tokens=9, num_output_tokens=11)
    assert Timing(ttft_s=0.5, total_s=2.5, usage=usage).tokens_per_s == 5.0


def test_an_answer_that_breaks_off_is_an_error_after_what_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        fake_grpc() as triton,
        TritonClient(triton.url) as client,
        pytest.raises(EngineStoppedError),
    ):
        answer(client, "break", params=SamplingParams())
    assert capsys.readouterr().out == PIECES[0]
