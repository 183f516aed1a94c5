"""An audit believes nobody: each signature, header and proposer is looked at, and told of."""

import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger import history
from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import TAG_BYTES, Signed
from ledger.invariants import INVARIANTS
from ledger.messages import tags
from ledger.messages.blocks import BLOCK, Block
from ledger.messages.evidence import Misbehaviour
from ledger.messages.lists import ListHeader, decode_header
from ledger.replay import execute_block
from ledger.store import MemoryStore
from registry.cli import auditing
from registry.cli.auditing import Audit
from registry.cli.histories import Finding
from registry.cli.replay import RECORDS
from tests.factory import Network, public
from tests.flip import flip
from tests.ledger.moving import announce, make_successor
from tests.ledger.scenes import SHORT
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.made import Made, Validated, read_vector, reseal, write_file, write_home

LIFE: Final = read_vector("life.json")
"""Verdicts, orders, changes of keys, offences and recoveries, one after the other."""


def run(made: Made) -> Audit:
    audit = Audit(made.genesis)
    audit.run(made, lambda blocks: blocks)
    return audit


def find(made: Made) -> Finding:
    with pytest.raises(Finding) as caught:
        run(made)
    return caught.value


# --- what is counted ----------------------------------------------------------------------------


def others() -> Made:
    """A node tells where it is, and a successor is ordered, which nobody does in `LIFE`."""
    network = Network(**SHORT)
    network.block(network.register("node", "carol"))
    network.block(network.update_contact("node"))
    announce(network, make_successor(network))
    return Made.of(network)


def signed(made: Made) -> Iterator[tuple[int, int, Signed]]:
    """Every signature in the blocks of a history: height, index of the transaction, what is signed.

    They are looked up by the rules, with a chain that goes along.
    """
    chain = Chain(MemoryStore(), made.genesis)
    chain.init()
    for raw in made.raws:
        block = BLOCK.decode(raw)
        for index, tx in enumerate(map(chain.decode, block.transactions)):
            for item in chain.signatures(tx):
                yield block.header.height, index, item
        execute_block(chain, block)


def tag_of(item: Signed) -> str:
    return item.message[:TAG_BYTES].rstrip(b"\0").decode()


SIGNED: Final = [(made, *row) for made in (LIFE, others()) for row in signed(made)]
FIRST: Final = {
    tag_of(item): (made, height, index, item) for made, height, index, item in SIGNED[::-1]
}
"""The first signature under each tag."""


def test_every_kind_of_signature_stands_in_a_transaction_of_these() -> None:
    """All tags but those of what is signed elsewhere, and of hashes."""
    elsewhere = {tags.CHALLENGE, tags.CHECK_IN, tags.BLOCK}
    hashes = {tags.SEED, tags.QUORUM, tags.REMOVAL, tags.PARAMETERS, tags.ATTESTORS}
    every = {value for value in vars(tags).values() if isinstance(value, bytes)}
    assert {tag.encode() for tag in FIRST} == every - elsewhere - hashes - {tags.FINGERPRINT}


def test_a_whole_life_is_counted() -> None:
    facts = run(LIFE).facts
    counted = Counter(tag_of(item) for made, _, _, item in SIGNED if made is LIFE)
    assert facts["signatures_by_tag"] == counted
    assert facts["signatures"] == counted.total() == sum(counted.values())
    assert facts["transactions"] == sum(facts["transactions_by_kind"].values())
    assert facts["transactions_by_kind"]["judge"] == 10
    assert facts["seals"] == facts["blocks"] == LIFE.height
    names = [check.__name__ for check in INVARIANTS]
    assert facts["checks_by_invariant"] == dict.fromkeys(names, 1 + LIFE.height)
    headers = json.loads((Path(__file__).parents[2] / "vectors" / "life.json").read_text())
    assert facts["headers"] == len(headers["headers"])
    assert facts["state_root"] == LIFE.decoded(LIFE.height).header.state_root.hex()
    # one attestor is stopped by a recovery before it could attest
    assert facts["final_headers"] == facts["headers"] - 1


# --- a signature that is not one ----------------------------------------------------------------


@pytest.mark.parametrize("tag", FIRST)
def test_a_forged_signature_is_found(tag: str) -> None:
    """Whoever produces the blocks seals one with a signature that nobody made."""
    made, height, index, item = FIRST[tag]
    forged = Made(made.genesis, made.raws)
    block = made.decoded(height)
    raw = block.transactions[index]
    assert raw.count(item.signature) == 1
    # S counts from the first byte of its second half
    other = flip(item.signature, 32)
    transactions = list(block.transactions)
    transactions[index] = raw.replace(item.signature, other)
    forged.put(reseal(made.genesis, replace(block, transactions=tuple(transactions))))
    finding = find(forged)
    assert (finding.height, finding.what) == (height, "block_transaction")
    assert f"leave transaction {index} " in finding.why
    assert "bad_signature" in finding.why


def test_a_forged_seal_is_found() -> None:
    forged = Made(LIFE.genesis, LIFE.raws)
    block = LIFE.decoded(5)
    forged.put(replace(block, seal=block.seal[:32] + bytes(32)))
    assert (find(forged).height, find(forged).what) == (5, "block_seal")


# --- headers ------------------------------------------------------------------------------------

CHANGED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "another epoch": ({"epoch": 2}, "does not extend the 1 before it"),
    "another history": ({"history_root": bytes(32)}, "does not extend the 1 before it"),
    "another block": ({"height": 2**40}, "names another block than"),
    "another time": ({"valid_after_ms": 1}, "names another block than"),
    "another root": ({"state_root": bytes(32)}, "names another block than"),
    "other attestors": ({"set_hash": bytes(32)}, "names other attestors"),
}


@pytest.mark.parametrize(("changes", "says"), CHANGED.values(), ids=CHANGED.keys())
def test_a_header_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], says: str
) -> None:
    """Execution makes no such header, so a bug of it is played."""

    def decode(raw: bytes) -> ListHeader:
        header = decode_header(raw)
        return header._replace(**changes) if header.epoch == 1 else header

    network = Network()
    for _ in range(3):
        network.end_epoch()
    run(Made.of(network))
    monkeypatch.setattr(auditing, "decode_header", decode)
    finding = find(Made.of(network))
    assert finding.what == "header"
    assert says in finding.why


def test_up_to_where_the_attestors_vouch() -> None:
    network = Network()
    network.end_epoch()
    vouched = network.chain.tip.height
    network.settle()
    network.attesting = False
    network.end_epoch()
    network.block()
    facts = run(Made.of(network)).facts
    assert (facts["headers"], facts["final_headers"]) == (3, 2)
    assert facts["attested_height"] == vouched < facts["height"]
    network = Network()
    network.attesting = False
    network.block()
    assert run(Made.of(network)).facts["attested_height"] is None


# --- validators ---------------------------------------------------------------------------------


def validated() -> Validated:
    network = Validated()
    network.block(network.transfer("alice", "bob"))
    network.end_epoch()
    said = Misbehaviour(bytes(20), 1, network.chain.tip.time_ms)
    network.block(misbehaviour=(encode(said),))
    network.settle()
    return network


def test_blocks_of_validators_hold() -> None:
    network = validated()
    facts = run(Made.of(network)).facts
    assert (facts["engine"], facts["seals"], facts["misbehaviour"]) == ("comet", 0, 1)
    assert facts["headers"] == facts["final_headers"] == 2


def misbehaving(piece: bytes) -> Callable[[Network], None]:
    return lambda network: void(network.block(misbehaviour=(piece,)))


def void(_: object) -> None:
    """Nothing is returned."""


def unseal(change: Callable[[Block], Block]) -> Callable[[Network], None]:
    def play(network: Network) -> None:
        network.block()
        network.blocks[-1] = change(network.blocks[-1])

    return play


BY_VALIDATORS: Final[dict[str, tuple[Callable[[Network], None], str, str]]] = {
    "a stranger proposed it": (
        unseal(lambda b: replace(b, header=replace(b.header, proposer=bytes(20)))),
        "proposer",
        f"{bytes(20).hex()} proposed it and was no validator",
    ),
    "nobody proposed it": (
        unseal(lambda b: replace(b, header=replace(b.header, proposer=b""))),
        "proposer",
        "nobody proposed it",
    ),
    "a seal that nobody made": (
        unseal(lambda b: replace(b, seal=bytes(64))),
        "block_seal",
        "validators make none",
    ),
    "it follows another state": (
        unseal(lambda b: replace(b, header=replace(b.header, previous=bytes(32)))),
        "block_link",
        "does not extend",
    ),
    "it carries other evidence": (
        unseal(lambda b: replace(b, misbehaviour=(b"x",))),
        "block_inputs",
        "does not carry",
    ),
    "evidence that is none": (misbehaving(b"\xc0"), "not_canonical", "misbehaviour"),
    "evidence of what was to come": (
        misbehaving(encode(Misbehaviour(bytes(20), 2**40, 1))),
        "misbehaviour",
        "still to come",
    ),
}


@pytest.mark.parametrize(("play", "what", "says"), BY_VALIDATORS.values(), ids=BY_VALIDATORS.keys())
def test_blocks_of_validators_that_do_not_hold(
    play: Callable[[Network], None], what: str, says: str
) -> None:
    network = Validated()
    network.end_epoch()
    play(network)
    finding = find(Made.of(network))
    assert (finding.height, finding.what) == (network.chain.tip.height, what)
    assert says in finding.why


# --- the report ---------------------------------------------------------------------------------


def test_the_report_of_a_chain_that_holds(tmp_path: Path) -> None:
    path, report = write_file(tmp_path / "file", LIFE), tmp_path / "reports" / "one.json"
    shown = call_json("ledger", "audit", path, "--report", report)
    written = json.loads(report.read_text())
    assert written == shown
    assert (shown["format"], shown["holds"], shown["finding"]) == (1, True, None)
    assert shown["source"] == str(path)
    assert shown["seconds"] > 0
    assert len({shown["genesis_root"], shown["state_root"], shown["genesis_hash"]}) == 3
    # what another one says is put in its place
    call("ledger", "audit", path, "--report", report, "--every", 50)
    assert json.loads(report.read_text())["invariant_checks"] == 2


def test_people_read_the_same(tmp_path: Path) -> None:
    printed = call("ledger", "audit", write_file(tmp_path / "file", LIFE)).stdout
    assert printed.startswith("everything holds\n")
    rows = [line.split() for line in printed.splitlines()]
    assert ["judge", "10"] in rows
    assert ["waypost", "vote", "42"] in rows
    assert ["final", "headers", "21"] in rows


def test_the_report_of_a_finding(tmp_path: Path) -> None:
    forged = Made(LIFE.genesis, LIFE.raws)
    forged.put(reseal(LIFE.genesis, LIFE.decoded(7), state_root=bytes(32)))
    path, report = write_file(tmp_path / "file", forged), tmp_path / "report"
    result = call("ledger", "audit", path, "--report", report, "-o", "json", code=1)
    assert (error_of(result), result.stdout) == ("finding", "")
    written = json.loads(report.read_text())
    assert written["holds"] is False
    assert (written["finding"]["height"], written["finding"]["what"]) == (7, "diverged")
    assert "it states the root 0000" in written["finding"]["why"]
    # how far it came
    assert written["blocks"] == written["height"] == 6


def test_every_key_of_a_store_has_a_name() -> None:
    """A finding says what a record is that should not be there."""
    letters = re.findall(r'b"([A-Z])"', inspect.getsource(history))
    assert len(set(letters)) > 10
    assert {letter.encode() for letter in letters} <= RECORDS.keys()


def test_what_is_found_in_a_database_is_reported(tmp_path: Path) -> None:
    network = Network()
    network.block(network.transfer("alice", "bob"))
    row = network.store.get(b"a" + public("bob")) or b""
    network.store.write({b"a" + public("bob"): flip(row)})
    home, report = write_home(tmp_path / "home", network), tmp_path / "report"
    call("ledger", "audit", "--home", home, "--report", report, code=1)
    finding = json.loads(report.read_text())["finding"]
    assert (finding["height"], finding["what"]) == (1, "record")


def test_what_is_no_finding_leaves_no_report(tmp_path: Path) -> None:
    report = tmp_path / "report"
    call("ledger", "audit", "--home", tmp_path, "--report", report, code=1)
    assert not report.exists()
