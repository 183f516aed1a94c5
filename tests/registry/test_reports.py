"""The public record of offences, and what a report would do, on a real chain."""

from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import ENGINE_INDEX
from ledger.messages.blocks import BlockInput
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET
from ledger.messages.transactions import Report
from ledger.nodes import consensus_address
from ledger.steps import run
from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.api import rule_models
from registry.evidence import check_evidence
from registry.reports import MAX_PAGE, check_report, get_report, list_reports
from tests.factory import (
    BLOCK_MS,
    Network,
    attestor_roles,
    founding,
    make_genesis,
    public,
    verify_cached,
)
from tests.life import OFFENCE, header_evidence, report, running, vote_evidence

TESTERS: Final = ("one", "two", "three")


@pytest.fixture
def network() -> Network:
    """Three nodes of three operators, which are active from the start."""
    nodes = [founding(name, operator=who)[0] for name, who in zip(TESTERS, "abc", strict=True)]
    made = Network(make_genesis(nodes=tuple(sorted(nodes, key=lambda row: row.node))))
    made.block()
    return made


def file_of(offence: str, evidence: Record) -> bytes:
    """The file of a piece of evidence."""
    return encode(Report(OFFENCE[offence], encode(evidence)))


def test_a_report_is_shown_with_what_it_did(network: Network) -> None:
    evidence = vote_evidence(network, "one")
    epoch, pool = running(network), network.state.account(public("alice")).balance
    raw = report(network, "alice", evidence)
    # the attestors' own come first
    executed = network.block(raw)
    height, index = network.chain.tip.height, len(executed.codes) - 1
    shown = get_report(network.view, height, index)
    bounty = COIN * 5 // 100
    assert shown == {
        "height": height,
        "index": index,
        "time_ms": network.chain.tip.time_ms,
        "penalty": {
            "offence": "vote_equivocation",
            "key": public("one duty").hex(),
            "role": "duty",
            "node": encode_node(public("one")),
            "epoch": epoch,
            "taken": str(COIN),
            "bounty": str(bounty),
            "tombstones": False,
        },
        "reporter": encode_account(public("alice")),
        "transaction": sha256(raw).hex(),
        "evidence": file_of("vote_equivocation", evidence).hex(),
    }
    assert network.balance("alice") == pool + bounty
    # who has nothing but the record can check it again
    proven = check_evidence(bytes.fromhex(shown["evidence"]), network.hash)
    assert proven.offender.key == public("one duty")


def test_a_check_says_what_the_report_then_does(network: Network) -> None:
    evidence = vote_evidence(network, "two")
    before = network.dump()
    would = check_report(network.view, file_of("vote_equivocation", evidence))
    assert network.dump() == before
    network.block(report(network, "bob", evidence))
    done = list_reports(network.view, b"", 1)["reports"][0]["penalty"]
    assert would == done
    assert (would["taken"], would["bounty"]) == (str(COIN), str(COIN // 20))


def test_a_key_without_a_node_is_shown_as_itself(network: Network) -> None:
    key = network.genesis.attestors[0].list_key
    evidence = header_evidence(network, key)
    would = check_report(network.view, file_of("list_equivocation", evidence))
    network.block(report(network, "carol", evidence))
    (row,) = list_reports(network.view, b"", MAX_PAGE)["reports"]
    assert row["penalty"] == would
    assert would == {
        "offence": "list_equivocation",
        "key": key.hex(),
        "role": "list",
        "node": None,
        "epoch": 1,
        "taken": "0",
        "bounty": "0",
        "tombstones": True,
    }


REFUSED: Final = {
    "what was punished": "punished_already",
    "a key that nobody has": "unknown_offender",
    "what proves nothing": "no_contradiction",
    "no file": "not_canonical",
}


@pytest.mark.parametrize(("what", "code"), REFUSED.items(), ids=REFUSED.keys())
def test_a_check_refuses_like_the_report(network: Network, what: str, code: str) -> None:
    evidence = vote_evidence(network, "one")
    network.block(report(network, "alice", evidence))
    raw = {
        "what was punished": file_of("vote_equivocation", evidence),
        "a key that nobody has": file_of(
            "vote_equivocation", replace(evidence, duty_key=public("stranger"))
        ),
        "what proves nothing": file_of("vote_equivocation", replace(evidence, faults=0)),
        "no file": b"\x90",
    }[what]
    with pytest.raises(Refusal) as refused:
        check_report(network.view, raw)
    assert refused.value.code == code


def test_pages_go_back_from_the_newest_and_stay_at_their_height(network: Network) -> None:
    for name in TESTERS:
        network.block(report(network, "alice", vote_evidence(network, name)))
    view = network.view
    seen: list[str] = []
    before = b""
    while True:
        page = list_reports(view, before, 2)
        assert len(page["reports"]) <= 2
        seen += [row["penalty"]["node"] for row in page["reports"]]
        # what comes meanwhile is not on the pages of an older height
        network.end_epoch()
        network.block(report(network, "alice", vote_evidence(network, "one")))
        if page["next"] is None:
            break
        before = page["next"]
    assert seen == [encode_node(public(name)) for name in reversed(TESTERS)]
    assert len(list_reports(network.view, b"", MAX_PAGE)["reports"]) == 5


def test_an_empty_record(network: Network) -> None:
    assert list_reports(network.view, b"", 10) == {"reports": [], "next": None}
    assert get_report(network.view, 1, 0) is None


def test_answers_have_the_shape_that_the_api_shows(network: Network) -> None:
    network.block(report(network, "alice", vote_evidence(network, "one")))
    shapes: list[tuple[type[Any], Any]] = [
        (rule_models.Report, list_reports(network.view, b"", 1)["reports"][0]),
        (
            rule_models.Penalty,
            check_report(network.view, file_of("vote_equivocation", vote_evidence(network, "two"))),
        ),
    ]
    for shape, answer in shapes:
        plain = msgspec.json.decode(msgspec.json.encode(answer))
        assert shape.model_validate(answer).model_dump(mode="json") == plain


def test_what_an_engine_found_has_no_reporter() -> None:
    network = Network(make_genesis(engine=COMET, producer=b""))
    network.block(network.register(**attestor_roles("node")))
    network.end_epoch()
    network.block()
    tip = network.chain.tip
    key = public("node consensus")
    piece = encode(Misbehaviour(consensus_address(key), tip.height, tip.time_ms))
    # the first piece says nothing, and so leaves nothing in the record
    block = BlockInput(tip.height + 1, tip.time_ms + BLOCK_MS, b"", (b"", piece), ())
    run(network.chain.finalize(block), verify_cached)
    network.chain.commit()
    (row,) = list_reports(network.view, b"", MAX_PAGE)["reports"]
    assert (row["height"], row["index"]) == (tip.height + 1, ENGINE_INDEX - 1)
    assert row["reporter"] is None
    assert row["transaction"] is None
    assert bytes.fromhex(row["evidence"]) == encode(Report(OFFENCE["block_equivocation"], piece))
    penalty = row["penalty"]
    assert penalty["key"] == consensus_address(key).hex()
    assert (penalty["node"], penalty["role"]) == (encode_node(public("node")), "consensus")
    assert (penalty["taken"], penalty["bounty"]) == (str(10 * COIN), "0")
    assert penalty["tombstones"]
    assert get_report(network.view, row["height"], row["index"]) == row
