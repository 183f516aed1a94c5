"""The small client: what every kind of bad answer becomes."""

import socket
import threading
from collections.abc import Iterator

import pytest

from registry.cli import http
from registry.cli.http import Account, BadAnswer, Network, Refused, Service, Unreachable, convert
from tests.ending import ENDS, ending
from tests.registry.cli.fake_service import ENDLESS, FakeService, dripping, problem, run_service

PATH = "/v1/network"


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with run_service() as running:
        yield running


def test_an_answer(fake: FakeService) -> None:
    with Service(fake.url + "/") as service:
        network = convert(service.get(PATH), Network)
        assert network.chain == "test-net"
        assert service.get_bytes("/v1/genesis") == fake.network.raw
        assert service.find("/v1/nodes/" + "00" * 32) is None


def test_a_problem_has_code_text_and_values(fake: FakeService) -> None:
    fake.answers[PATH] = problem(422, "nonce_used", "nonce 4 was used", {"expected": 5})
    with Service(fake.url) as service, pytest.raises(Refused) as caught:
        service.get(PATH)
    assert (caught.value.code, caught.value.text) == ("nonce_used", "nonce 4 was used")
    assert caught.value.values == {"expected": 5}


def test_find_keeps_other_problems(fake: FakeService) -> None:
    fake.answers[PATH] = problem(503, "busy", "ask again soon", {})
    with Service(fake.url) as service, pytest.raises(Refused, match="ask again soon"):
        service.find(PATH)


BAD_ANSWERS = {
    "no JSON": (200, b"<html>", "no JSON object"),
    "JSON that is no object": (200, b"[1]", "no JSON object"),
    "bytes that are no text": (200, b'{"a": "\xff"}', "no JSON object"),
    "deep JSON": (200, b'{"a":' * 100_000, "no JSON object"),
    "a deep error": (500, b'{"type":"a","detail":"","values":' + b'{"a":' * 100_000, "answers 500"),
    "an error without a reason": (500, b"Oops", "answers 500 without a reason"),
    "an error of another shape": (404, b'{"detail": "Not Found"}', "answers 404 without a reason"),
    "a way to elsewhere": (302, b"", "answers 302 without a reason"),
}


@pytest.mark.parametrize(("status", "body", "says"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_bad_answers(fake: FakeService, status: int, body: bytes, says: str) -> None:
    fake.answers[PATH] = status, body
    with Service(fake.url) as service, pytest.raises(BadAnswer, match=says):
        service.get(PATH)


def test_an_answer_is_bounded(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 99)
    fake.answers[PATH] = 200, b"1" * 100
    with Service(fake.url) as service, pytest.raises(BadAnswer, match="more than 99 bytes"):
        service.get(PATH)


DRIPS = {
    "a head without an end": b"HTTP/1.1 200 OK\r\nX-Word: ",
    "a body without an end": ENDLESS,
}


@pytest.mark.parametrize("head", DRIPS.values(), ids=DRIPS.keys())
def test_an_answer_that_never_ends(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(http, "ANSWER_S", -http.TIMEOUT_S + 0.5)
    with dripping(head) as url, Service(url) as service:
        with pytest.raises(Unreachable, match=r"took longer than 0.5 s to answer"):
            service.get(PATH)
        # what was closed is not used again
        service.url = fake.url
        assert convert(service.get(PATH), Network).chain == "test-net"


def test_all_answers_together_have_a_time(fake: FakeService) -> None:
    with Service(fake.url) as service:
        service.give(0)
        with pytest.raises(Unreachable, match="its time is over"):
            service.get(PATH)
        assert fake.asked == []
        service.give(60)
        assert convert(service.get(PATH), Network).chain == "test-net"
    with dripping() as url, Service(url) as service:
        service.give(0.5)
        with pytest.raises(Unreachable, match="took longer than"):
            service.get(PATH)


@pytest.mark.parametrize(
    "changes",
    [{"height": -1}, {"height": 2**63}, {"time_ms": 2**70}, {"time_ms": -(2**70)}],
    ids=str,
)
def test_a_number_that_no_record_has_room_for(fake: FakeService, changes: dict[str, int]) -> None:
    with Service(fake.url) as service:
        answer = service.get(PATH)
    assert convert(answer | {"height": 2**63 - 1}, Network).height == 2**63 - 1
    with pytest.raises(BadAnswer, match="another way"):
        convert(answer | changes, Network)


@pytest.mark.parametrize("nonce", [-1, 2**63, 2**70])
def test_a_nonce_that_is_none(nonce: int) -> None:
    answer = {"account": "", "balance": "0", "nonce": 0, "stakes": [], "rewards": []}
    assert convert(answer | {"claimable": "0"}, Account).nonce == 0
    with pytest.raises(BadAnswer, match="another way"):
        convert(answer | {"claimable": "0", "nonce": nonce}, Account)


@pytest.mark.parametrize(
    "changes", [{"height": "5"}, {"minimum_fee": 5}, {"minimum_fee": "-1"}, {"chain": None}]
)
def test_an_answer_of_another_shape(fake: FakeService, changes: dict[str, object]) -> None:
    with Service(fake.url) as service, pytest.raises(BadAnswer, match="another way"):
        convert(service.get(PATH) | changes, Network)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Service(url) as service, pytest.raises(Unreachable) as caught:
        service.get(PATH)
    for part in (url, "waypost run", "waypost devnet", "--url"):
        assert part in caught.value.text


def test_somebody_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Service(f"http://127.0.0.1:{server.getsockname()[1]}") as service,
        pytest.raises(Unreachable, match="did not answer within"),
    ):
        service.get(PATH)


def test_somebody_speaks_another_language() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def speak() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with Service(url) as service, pytest.raises(Unreachable, match="broke off"):
            service.get(PATH)
        thread.join()


BREAKS = [name for name in ENDS if name.startswith(("closed", "reset"))]


@pytest.mark.parametrize("end", BREAKS)
def test_a_service_that_ends_while_it_is_asked(end: str) -> None:
    with (
        ending(ENDS[end]) as url,
        Service(url) as service,
        pytest.raises(Unreachable, match=f"^{url} broke off: .*[a-z]"),
    ):
        service.get(PATH)


@pytest.mark.parametrize("url", ["", "node", "127.0.0.1:8420", "ftp://127.0.0.1"])
def test_no_url(url: str) -> None:
    with Service(url) as service, pytest.raises(Unreachable, match="is no URL such as"):
        service.get(PATH)
