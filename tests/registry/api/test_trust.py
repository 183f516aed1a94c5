"""Trust paths as a client gets them: a real chain behind the web side."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.messages.lists import encode_signed_header
from registry.client import TrustedLists
from registry.files import write_atomically
from registry.formats.trust import TRUST_MEDIA_TYPE
from tests.life import current, seats, set_attestors
from tests.registry.api.shown import Shown


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    made = Shown(tmp_path)
    with made.client:
        yield made


def newest(shown: Shown) -> bytes:
    return encode_signed_header(shown.network.chain.newest_header())


def path_of(shown: Shown, where: str) -> bytes:
    """Return the path that is answered with 200."""
    answer = shown.client.get(f"/v1/trust/{where}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == TRUST_MEDIA_TYPE
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["waypost-height"] == str(shown.network.chain.tip.height)
    return answer.content


def test_a_client_follows_the_attestors(shown: Shown) -> None:
    network = shown.network
    shown.end_epoch()
    client = TrustedLists(network.raw, network.chain.tip.time_ms)
    client.update(newest(shown), path_of(shown, "1"))
    network.block(set_attestors(network, seats(network, "new", kept=current(network)[1:])))
    for _ in range(3):
        shown.end_epoch()
    client.start_update(network.chain.tip.time_ms)
    client.update(newest(shown), path_of(shown, "4?from=1"))
    assert client.header == network.header
    assert client.header.set_hash != client.header.history_root
    assert client.signers.seats == 3


def test_from_a_header_to_itself_comes_its_history(shown: Shown) -> None:
    for _ in range(3):
        shown.end_epoch()
    client = TrustedLists(shown.network.raw, shown.network.chain.tip.time_ms)
    client.update(newest(shown))
    assert not client.knows_history
    client.update(newest(shown), path_of(shown, "3?from=3"))
    assert client.knows_history


@pytest.mark.parametrize("where", ["9", "2?from=3", "2?from=9", "9?from=9"])
def test_a_path_that_there_is_not(shown: Shown, where: str) -> None:
    for _ in range(3):
        shown.end_epoch()
    answer = shown.client.get(f"/v1/trust/{where}")
    assert (answer.status_code, answer.json()["type"]) == (404, "not_found")


@pytest.mark.parametrize("where", ["x", "-1", "1?from=x", "1?from=-1", f"{2**63}"])
def test_what_is_no_epoch(shown: Shown, where: str) -> None:
    shown.end_epoch()
    answer = shown.client.get(f"/v1/trust/{where}")
    assert (answer.status_code, answer.json()["type"]) == (400, "bad_request")


# ---- Paths that were published ----


def publish(folder: Path, epoch: int, name: str) -> bytes:
    """Lay a file where the publisher puts paths."""
    data = f"path to {epoch} from {name}".encode()
    write_atomically(folder / "lists" / str(epoch) / "trust" / name, data)
    return data


def test_a_path_that_lies_there_is_served_for_ever(shown: Shown, tmp_path: Path) -> None:
    shown.end_epoch()
    for query, name in (("", "genesis"), ("?from=7", "7")):
        data = publish(tmp_path, 8, name)
        answer = shown.client.get(f"/v1/trust/8{query}")
        assert answer.content == data
        assert answer.headers["content-type"] == TRUST_MEDIA_TYPE
        assert "immutable" in answer.headers["cache-control"]
        named = {"If-None-Match": answer.headers["etag"]}
        assert shown.client.get(f"/v1/trust/8{query}", headers=named).status_code == 304
        assert shown.client.head(f"/v1/trust/8{query}").headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("query", ["?from=1&x=1", "?x=1", "?from=01", "?from=../genesis", "?from="])
def test_only_the_usual_question_is_answered_by_a_file(
    shown: Shown, tmp_path: Path, query: str
) -> None:
    shown.end_epoch()
    for name in ("genesis", "1"):
        publish(tmp_path, 8, name)
    answer = shown.client.get(f"/v1/trust/8{query}")
    assert not answer.content.startswith(b"path to 8")
