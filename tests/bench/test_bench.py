"""The bench itself: its figures are complete, and it sees what is lost or doubled. Times are never judged here."""

import asyncio
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.bench import bell, fanout, load, reference
from tests.bench.__main__ import Bench, Row, arguments, fitting, line
from tests.bench.load import Load, Session, Tally, client_frame, masked, split_frames
from tests.bench.processes import Cores, ServerProcess, cpu_us, rss_kib
from tests.bench.scenarios import SCENARIOS, Bed, Figure, Outcome, Size, metronome, percentiles
from tests.harness import Doors

KERNEL_TELLS = Path("/proc/self/schedstat").exists()
TINY = Size(seconds=0.3, users=3, per_user=2, rate=100, connects=5, idle=(5, 12))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(TINY, Cores())


def complete(outcome: Outcome) -> bool:
    """Every figure is there, but for what Redis cost where there is none, and what only Linux tells."""
    figures = [figure for figure in outcome.figures if "Redis" not in figure.name]
    if not KERNEL_TELLS:
        figures = [figure for figure in figures if figure.unit not in ("KiB", "%") and "CPU" not in figure.name]
    return bool(outcome.figures) and all(f.value is not None and math.isfinite(f.value) for f in figures)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_gives_all_its_figures_and_loses_nothing(bench: Bench, name: str) -> None:
    hub = await bench.hub(name)
    floor = await bench.reference(name)
    assert complete(hub), hub.figures
    assert complete(floor), floor.figures
    assert hub.tally == floor.tally == Tally(0, 0)
    assert [figure.name for figure in hub.figures] == [figure.name for figure in floor.figures]
    assert all(figure.value > 0 for figure in hub.figures if figure.value is not None and "rate" in figure.name)


async def test_the_cost_of_redis_is_told_for_the_hub_only(bench: Bench) -> None:
    of_redis = {
        name: [figure.value for figure in outcome.figures if "CPU of Redis" in figure.name]
        for name, outcome in (("hub", await bench.hub("engine")), ("reference", await bench.reference("engine")))
    }
    assert of_redis["reference"] == [None]
    assert (of_redis["hub"] != [None]) == KERNEL_TELLS


async def test_a_table_row_holds_the_ratio_to_the_reference_and_the_last_one_what_went_wrong(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hub(name: str) -> Outcome:
        return Outcome([Figure("x", 30.0, "µs")], Tally(lost=2, doubled=1))

    async def floor(name: str) -> Outcome:
        return Outcome([Figure("x", 10.0, "µs")], Tally(0, 0))

    monkeypatch.setattr(bench, "hub", hub)
    monkeypatch.setattr(bench, "reference", floor)
    figure, wrong = await bench.rows("send", rounds=2)
    assert figure == Row(Figure("x", 30.0, "µs"), 3.0)
    assert line(figure).split() == ["x", "30", "µs", "3.00"]
    assert wrong.figure.value == 6


class Careless(reference.Reference):
    """Tells every seventh event twice, and every eleventh to nobody."""

    told = 0

    def _tell(self, user: str, text: str) -> None:
        self.told += 1
        for _ in range((self.told % 11 > 0) + (self.told % 7 == 0)):
            super()._tell(user, text)


async def test_a_server_that_loses_and_repeats_events_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_S", 0.2)
    careless = Careless()
    server = await asyncio.get_running_loop().create_server(lambda: reference.Connection(careless), "127.0.0.1", 0)
    here = SimpleNamespace(port=server.sockets[0].getsockname()[1], pid=os.getpid())
    bed = Bed(cast("ServerProcess", here), None, "-", "-", Doors().token)
    outcome = await SCENARIOS["send"](bed, TINY)
    server.close()
    lost = sum(number % 11 == 0 and number % 7 > 0 for number in range(1, careless.told + 1))
    doubled = sum(number % 7 == 0 and number % 11 > 0 for number in range(1, careless.told + 1))
    assert outcome.tally == Tally(lost * TINY.per_user, doubled * TINY.per_user)
    assert lost
    assert doubled


# ---- what the load client believes -------------------------------------------------------------------


def session_with(crowd: Load, *cursors: bytes) -> Session:
    session = Session(crowd, "ann", b"", b"")
    session.cursors.extend(cursors)
    crowd.sessions.setdefault("ann", []).append(session)
    return session


async def test_a_missing_and_a_repeated_event_are_both_counted() -> None:
    crowd = Load(0, "", str)
    crowd.expected["ann"] = 3
    session_with(crowd, b"1", b"2", b"3")
    assert crowd.tally() == Tally(0, 0)
    session_with(crowd, b"1", b"3", b"3")
    assert crowd.tally() == Tally(lost=1, doubled=1)


async def test_settling_waits_for_what_is_still_to_come_and_for_nothing_else() -> None:
    crowd = Load(0, "", str)
    crowd.expected["ann"] = 1
    session = session_with(crowd)
    settling = asyncio.create_task(crowd.settle(lambda: True))
    await asyncio.sleep(0)
    assert not settling.done()
    session.cursors.append(b"1")
    assert await settling == Tally(0, 0)


async def test_a_socket_that_ends_ends_the_run_with_its_reason() -> None:
    crowd = Load(0, "", str)
    session_with(crowd).connection_lost(None)
    with pytest.raises(RuntimeError, match="session of ann: the socket ended"):
        await crowd.go_on(1)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_frames_are_found_wherever_the_stream_is_cut(size: int) -> None:
    payload = b"x" * size
    head = bytes((0x81, 127)) + size.to_bytes(8) if size > 65535 else reference.frame(payload)[: -size or None]
    stream = (head + payload) * 2
    for cut in {0, 1, 2, len(head), len(head) + size, len(stream) - 1}:
        first, rest = split_frames(stream[:cut])
        second, left = split_frames(rest + stream[cut:])
        assert first + second == [(1, payload)] * 2
        assert left == b""


@pytest.mark.parametrize("size", [1, 125, 126, 3000])
def test_the_reference_reads_what_the_load_client_masks(size: int) -> None:
    payload = bytes(i % 256 for i in range(size))
    sent = masked(payload)
    assert sent[1] & 0x80
    assert reference.unmasked(sent[-size - 4 : -size], sent[-size:]) == payload
    mask = b"\x01\x02\x03\x04"
    assert reference.unmasked(mask, reference.unmasked(mask, payload)) == payload


def test_a_client_frame_is_compact_json_in_one_masked_frame() -> None:
    assert client_frame("pong").endswith(b'{"type":"pong"}')


# ---- measuring ---------------------------------------------------------------------------------------


async def test_the_schedule_of_an_open_loop_does_not_wait_for_anybody() -> None:
    loop = asyncio.get_running_loop()
    beats: list[int] = []
    asked = loop.create_future()

    def beat(number: int) -> None:
        beats.append(number)
        if len(beats) == 20:
            asked.set_result(None)

    metronome(0.0, 0.001, 20, beat)  # all of it is overdue: nothing is left out, nothing comes out of turn
    async with asyncio.timeout(10):
        await asked
    assert beats == list(range(20))


def test_percentiles_are_those_of_the_samples_in_milliseconds() -> None:
    p50, p99 = percentiles("wait", [n / 1000 for n in range(1, 102)])
    assert [p50.value, p99.value] == pytest.approx([51, 100])
    with pytest.raises(ValueError, match="wait: 1 samples, at least 2"):
        percentiles("wait", [1.0])


def test_what_a_process_costs_is_read_from_the_kernel_and_unknown_for_one_that_is_not_there() -> None:
    before = cpu_us(os.getpid())
    assert sum(range(300_000)) > 0
    after = cpu_us(os.getpid())
    if KERNEL_TELLS:
        assert before is not None
        assert after is not None
        assert after > before > 0
        assert (rss_kib(os.getpid()) or 0) > 1000
    assert cpu_us(2**22 + 1) is rss_kib(2**22 + 1) is None


def test_a_file_limit_that_is_too_low_is_told_and_leaves_fewer_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    size = Size(idle=(1000, 5000))
    assert fitting(size, 20_000) == size
    assert capsys.readouterr().err == ""
    assert fitting(size, 2000).idle == (1000,)
    assert fitting(size, 700).idle == (500,)
    assert "2000 open files allowed, 5200 needed" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["fly"], ["--rounds", "0"], ["--seconds", "0"]])
def test_what_cannot_be_run_is_refused_by_name(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(argv)
    told = capsys.readouterr().err
    assert "'fly'; there are send" in told or "seconds" in told


async def test_a_fan_out_is_measured_beside_other_sends_and_reaches_everybody_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = fanout.arguments(["--recipients", "300", "--rate", "50", "--seconds", "0.4"])
    assert await fanout.bench(asked, Cores()) == 0
    figures = {line[:76].strip(): line[76:].split()[0] for line in capsys.readouterr().out.splitlines()}
    assert float(figures["fan-out to 300 of a topic"]) > 0
    assert float(figures["send to receipt at 50/s, p99, meanwhile"]) > 0
    assert figures["recipients without exactly one entry"] == "0.00"


@pytest.mark.browser
async def test_badges_of_other_tabs_and_devices_are_timed_beside_the_reference() -> None:
    figures = {figure.name: figure.value for figure in await bell.bench(bell.arguments(["--rounds", "2"]))}
    ways = [
        "a send → a second device",
        "a mark in the tab with the socket → a second tab",
        "a mark in a second tab → a second device",
    ]
    for way in ways:
        median, p95, ratio = (figures[f"{way}, {what}"] for what in ("median", "p95", "median ÷ the reference's"))
        assert None not in (median, p95, ratio)
        assert 0 < (median or 0) <= (p95 or 0)
    assert len(figures) == 3 * (3 + 2 + 2)
