"""Sending votes, and what the answer says of each."""

from typing import Any

import msgspec
import pytest

from ledger.errors import Refusal
from ledger.messages.duty import FAULTS
from registry.addresses import encode_node
from registry.api.duty_models import VoteState
from registry.api.verdicts import MAX_VOTES
from registry.verdicts import SentVote, refused_vote
from tests.registry.api.conftest import Site

VOTES = "/v1/verdicts"
MSGPACK = {"content-type": "application/msgpack"}

NODE, TESTER = bytes([1]) * 32, bytes([2]) * 32
SENT = SentVote(48, NODE, 1, 3, TESTER, bytes([3]) * 64)
VOTE: dict[str, Any] = {
    "epoch": 48,
    "node": encode_node(NODE),
    "life": 1,
    "faults": 3,
    "tester": encode_node(TESTER),
    "signature": "03" * 64,
}

BODIES: dict[str, tuple[dict[str, Any], list[SentVote]]] = {
    "one as JSON": ({"json": {"vote": VOTE}}, [SENT]),
    "several as JSON": (
        {"json": {"votes": [VOTE, VOTE | {"epoch": 49}]}},
        [SENT, SENT._replace(epoch=49)],
    ),
    "faults by name": (
        {"json": {"vote": VOTE | {"faults": ["router port", "storage port"]}}},
        [SENT],
    ),
    "a fault twice": (
        {"json": {"vote": VOTE | {"faults": ["clock"] * 2}}},
        [SENT._replace(faults=16)],
    ),
    "a pass by name": ({"json": {"vote": VOTE | {"faults": []}}}, [SENT._replace(faults=0)]),
    "every fault": (
        {"json": {"vote": VOTE | {"faults": list(FAULTS.values())}}},
        [SENT._replace(faults=sum(FAULTS))],
    ),
    "keys as hex": (
        {"json": {"vote": VOTE | {"node": NODE.hex(), "tester": TESTER.hex().upper()}}},
        [SENT],
    ),
    "JSON with a character set": (
        {
            "content": msgspec.json.encode({"vote": VOTE}),
            "headers": {"content-type": "Application/JSON; charset=utf-8"},
        },
        [SENT],
    ),
    "several as MessagePack": (
        {"content": msgspec.msgpack.encode([SENT, SENT._replace(life=2)]), "headers": MSGPACK},
        [SENT, SENT._replace(life=2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "votes"), BODIES.values(), ids=BODIES.keys())
def test_bodies(site: Site, body: dict[str, Any], votes: list[SentVote]) -> None:
    answer = site.client.post(VOTES, **body)
    assert answer.status_code == 202, answer.text
    assert site.ledger.calls == [("vote", [tuple(vote) for vote in votes])]
    assert [row["state"] for row in answer.json()["results"]] == ["held"] * len(votes)


def test_the_largest_number_goes_in_one_call(site: Site) -> None:
    content = msgspec.msgpack.encode([SENT] * MAX_VOTES)
    answer = site.client.post(VOTES, content=content, headers=MSGPACK)
    assert answer.status_code == 202
    assert len(answer.json()["results"]) == MAX_VOTES
    assert len(site.ledger.calls) == 1


@pytest.mark.parametrize("state", VoteState)
def test_only_what_is_held_has_to_be_sent_again(site: Site, state: VoteState) -> None:
    fate: dict[str, Any] = {"state": state.value, "held": 3, "needed": 14}
    fate |= {"code": None, "detail": None, "values": {}}
    if state is VoteState.REFUSED:
        fate = refused_vote(Refusal("bad_testers"))
    site.ledger.vote_fates[SENT.signature] = fate
    answer = site.client.post(VOTES, json={"votes": [VOTE, VOTE]})
    assert answer.status_code == (202 if state is VoteState.HELD else 200)
    assert answer.json()["results"] == [fate, fate]
    packed = site.client.post(
        VOTES, json={"votes": [VOTE, VOTE]}, headers={"accept": "application/msgpack"}
    )
    assert msgspec.msgpack.decode(packed.content) == answer.json()


def test_one_refused_among_several_has_its_own_words(site: Site) -> None:
    other = VOTE | {"signature": "04" * 64}
    site.ledger.vote_fates[bytes([4]) * 64] = refused_vote(
        Refusal("wrong_life", life=1, expected=2)
    )
    answer = site.client.post(VOTES, json={"votes": [VOTE, other]})
    assert answer.status_code == 202
    first, second = answer.json()["results"]
    assert (first["state"], first["code"]) == ("held", None)
    assert (second["state"], second["code"]) == ("refused", "wrong_life")
    assert second["values"] == {"life": 1, "expected": 2}


def test_a_code_that_this_version_does_not_know_is_passed_on(site: Site) -> None:
    """As a follower hears it from a source that is newer."""
    row = refused_vote(Refusal("bad_testers")) | {"code": "something_new"}
    site.ledger.vote_fates[SENT.signature] = row
    answer = site.client.post(VOTES, json={"vote": VOTE})
    assert answer.status_code == 200
    assert answer.json()["results"] == [row]
