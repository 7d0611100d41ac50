"""The Python client without a network: when it tries again, what it loads, how it is typed."""

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest

from hub import client
from hub.client import Bellhub, BellhubError, Call


def pauses(*outcomes: httpx2.Response | httpx2.TransportError) -> list[float]:
    """How long a call waits after each outcome; shorter than the outcomes where it gave up."""
    tries = Call("GET", "", lambda answer: answer).tries()
    waited = [next(tries)]
    assert waited == [0.0]
    try:
        for outcome in outcomes:
            waited.append(tries.send(outcome))
    except BellhubError:
        pass
    return waited[1:]


def answered(status: int, retry_after: str | None = None) -> httpx2.Response:
    return httpx2.Response(status, headers={"retry-after": retry_after} if retry_after else {})


def test_pauses_are_random_and_their_bound_doubles_until_the_last_try() -> None:
    many = [pauses(*[httpx2.ConnectError("no")] * 9) for _ in range(300)]
    for number, bound in enumerate([0.5, 1.0, 2.0]):
        waited = [run[number] for run in many]
        assert 0 <= min(waited) < bound / 8
        assert bound * 7 / 8 < max(waited) <= bound
    assert {len(run) for run in many} == {client.TRIES - 1}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert len(pauses(answered(status))) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    assert pauses(answered(status)) == []


def test_a_request_whose_key_is_still_under_way_is_tried_again_when_the_hub_says() -> None:
    (waited,) = pauses(answered(409, "1"))
    assert 1 <= waited <= 1.5


def test_a_pause_is_given_in_seconds_or_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    (waited,) = pauses(answered(503, soon))
    assert 18 < waited <= 20.5
    for past_or_nonsense in (format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True), "soon", "-5"):
        (waited,) = pauses(answered(503, past_or_nonsense))
        assert 0 <= waited <= 0.5


def test_a_pause_beyond_the_bound_ends_the_call() -> None:
    assert len(pauses(answered(429, "60"))) == 1
    assert pauses(answered(429, "61")) == []


def test_an_error_survives_a_queue_that_pickles_it() -> None:
    error = BellhubError(400, "invalid_request", "title: too long", {"fields": []}, "req_1")
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error)
    assert str(again) == "invalid_request: title: too long"


@pytest.mark.parametrize("user", [" ann", "ann ", "\tann"])
def test_no_call_acts_for_another_user_than_the_one_that_was_named(user: str) -> None:
    with Bellhub("http://127.0.0.1:9", secret="sk_x") as bell, pytest.raises(ValueError, match="another user"):
        bell.unread_count(user)


def test_the_client_loads_nothing_else_of_the_hub() -> None:
    argv = [sys.executable, "-c", "import sys, hub.client; print(*sys.modules)"]
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    assert {name for name in loaded if name.partition(".")[0] == "hub"} == {"hub", "hub.client"}
    assert not loaded & {"starlette", "uvicorn", "redis", "pydantic", "jwt", "websockets"}


TYPED = """
from typing import assert_type
from hub.client import AsyncBellhub, Bellhub

def sync(bell: Bellhub) -> None:
    assert_type(bell.send("ann", "hello", category="a", priority="high"), str)
    assert_type(bell.withdraw("ann", "id"), bool)
    bell.send("ann", category="a")  # type: ignore[call-arg]
    bell.send("ann", "hello", category="a", priority="extreme")  # type: ignore[arg-type]
    bell.send("ann", "hello", category="a", colour="red")  # type: ignore[call-arg]

async def tasks(bell: AsyncBellhub) -> None:
    assert_type(await bell.send("ann", "hello", category="a"), str)
    len(bell.send("ann", "hello", category="a"))  # type: ignore[arg-type]
"""


def test_both_clients_are_typed_for_those_who_use_them(tmp_path: Path) -> None:
    """As strict mypy sees it; an ignore that were not needed would be an error."""
    (tmp_path / "shop.py").write_text(TYPED)
    argv = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(tmp_path / "shop.py")]
    judged = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout
