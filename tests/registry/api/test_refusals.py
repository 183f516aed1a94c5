"""What each endpoint refuses: code, status, and the shape of the problem."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest

from ledger.errors import REFUSALS, Refusal
from ledger.messages.entries import pack_columns
from registry.addresses import encode_account, encode_node
from registry.api.answers import encode_cursor
from registry.api.models import EPOCH
from registry.api.problems import (
    MAX_BODY_BYTES,
    MEDIA_TYPE,
    REFUSAL_STATUS,
    SERVICE_PROBLEMS,
    make_problem,
    status_of,
)
from registry.api.verdicts import EXAMPLE
from registry.formats.full import encode_full
from registry.ipc import Busy, Gone, Lost
from registry.verdicts import refused_vote
from registry.view import PublishedList
from tests.ledger.refusals.rows import ADVICE
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import (
    FRESH_UNTIL_MS,
    make_header,
    make_list,
    make_view,
    refused,
)
from tests.registry.api.offences import EVIDENCE, FORGED, REPORT, TRANSFER, USELESS

HASH = "ab" * 32
ACCOUNT = encode_account(bytes(32))
NODE = encode_node(bytes(32))
MSGPACK = {"content-type": "application/msgpack"}
TEXT = {"content-type": "text/plain"}
SEND = "/v1/transactions"
REPORTS = "/v1/reports"
CHECK = "/v1/reports/check"
VOTES = "/v1/verdicts"
VOTE = EXAMPLE
PACKED_VOTE = [48, bytes(32), 1, 1, bytes(32), bytes(64)]
PROOFS = "/v1/proofs/"
PARTICIPATION = "GET /v1/participation"
CHECK_IN = "POST /v1/checkins"
IN_HEX = {"json": {"check_in": "aa"}}
OWN = ("duties", "swarm", "history")


def pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


class Case(NamedTuple):
    """One request that is refused."""

    request: str
    """Method and path."""
    status: int
    code: str
    says: str = ""
    """Part of the detail."""
    body: Mapping[str, Any] = MappingProxyType({})
    """Arguments for the client."""
    prepare: Callable[[Site], object] = lambda site: None
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers that the answer has."""


def refuse(code: str, raw: bytes = b"\xaa", **values: int | str) -> Callable[[Site], object]:
    """Have the ledger refuse the transaction `aa`, or another one."""
    return lambda site: site.ledger.fates.update({raw: refused(raw, code, **values)})


def fail(error: Exception) -> Callable[[Site], object]:
    """Have every call of the ledger fail."""
    return lambda site: setattr(site.ledger, "error", error)


def forget(question: str) -> Callable[[Site], object]:
    """Have the ledger answer "not there"."""
    return lambda site: site.ledger.results.update({question: None})


def turn_away(code: str, **values: int | str) -> Callable[[Site], object]:
    """Have the ledger process refuse a check-in."""
    fate = {"node": None, "time_ms": None, "now_ms": None, "code": code, "values": values}
    return lambda site: site.ledger.check_in_fate.update(fate)


def vote_with(says: str, **changes: Any) -> "Case":
    """A vote with something wrong in it."""
    return Case(f"POST {VOTES}", 400, "bad_request", says, {"json": {"vote": VOTE | changes}})


def age(site: Site) -> None:
    """Let the newest final list get old."""
    site.now_ms = FRESH_UNTIL_MS


def disconnect(site: Site) -> None:
    """Lose the ledger process, but not the view."""
    site.ledger.is_connected = False


def unfinal(site: Site) -> None:
    """Have a view before the first final list."""
    network = {"latest_final": None, "fingerprint": None}
    site.push(make_view(8641, latest=None, lists=[], network=network))


def empty_lists(site: Site) -> None:
    """Have a view whose newest final list has no nodes."""
    empty = PublishedList(EPOCH, make_header(EPOCH), True, True, encode_full(pack_columns([])))
    site.push(make_view(8641, latest=EPOCH, lists=[empty]))


def unkept(site: Site) -> None:
    """Have a view whose newest final list is neither in memory nor in the directory."""
    site.push(make_view(8641, latest=EPOCH - 1, lists=[make_list(EPOCH)]))


FORMS = ("", "/full", "/bundle", "/session-json", "/session-binary")
"""What a list's path ends with."""

ONE = {"json": {"transaction": "aa"}}
A_REPORT = {"json": {"transaction": REPORT.hex()}}
SOME_EVIDENCE = {"json": {"evidence": EVIDENCE.hex()}}
OLD_HASH = {"json": {"method": "get_block_hash", "params": {"height": [1]}}}

UNPROVEN: dict[str, Case] = {
    "an epoch below zero": Case("?epoch=-1", 400, "bad_request", "query.epoch"),
    "before the first list": Case(
        "", 404, "not_found", "final list", prepare=unfinal, headers={"retry-after": "1740"}
    ),
    "the end of an epoch to come": Case(
        "?epoch=50", 404, "not_due", "3540 s", headers={"retry-after": "3540"}
    ),
    "a state that is not kept": Case(
        "?epoch=47", 404, "state_not_kept", "1740 s", prepare=forget("proof"),
        headers={"retry-after": "1740"},
    ),
    "a record that is too long": Case(
        "", 400, "too_large", "8388608", prepare=fail(Refusal("too_large", size=2**24, limit=2**23))
    ),
    "a ledger that is busy": Case(
        "", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
}  # fmt: skip
"""Proofs that are refused, of whichever record; the requests are what follows its path."""

CASES: dict[str, Case] = {
    # sending transactions
    "a body that is no JSON": Case(
        f"POST {SEND}", 400, "bad_request", "JSON",
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ),
    "neither field": Case(f"POST {SEND}", 400, "bad_request", "either", {"json": {}}),
    "both fields": Case(
        f"POST {SEND}", 400, "bad_request", "either",
        {"json": {"transaction": "aa", "transactions": ["aa"]}},
    ),
    "an unknown field": Case(
        f"POST {SEND}", 400, "bad_request", "unknown field", {"json": {"tx": "aa"}}
    ),
    "a field of another type": Case(
        f"POST {SEND}", 400, "bad_request", "transactions[0]", {"json": {"transactions": [1]}}
    ),
    "no transaction": Case(
        f"POST {SEND}", 400, "bad_request", "no transaction", {"json": {"transactions": []}}
    ),
    "what is not hex": Case(
        f"POST {SEND}", 400, "bad_request", "transaction 1 is not hex",
        {"json": {"transactions": ["aa", "ag"]}},
    ),
    "half a byte": Case(
        f"POST {SEND}", 400, "bad_request", "transaction 0 is not hex",
        {"json": {"transaction": "aaa"}},
    ),
    "a body that is no MessagePack": Case(
        f"POST {SEND}", 400, "bad_request", "one binary", {"content": b"\xc1", "headers": MSGPACK}
    ),
    "MessagePack text": Case(
        f"POST {SEND}", 400, "bad_request", "one binary",
        {"content": pack(["aa"]), "headers": MSGPACK},
    ),
    "a bare transaction as MessagePack": Case(
        f"POST {SEND}", 400, "bad_request", "one binary",
        {"content": pack([[1, 2], b""]), "headers": MSGPACK},
    ),
    "no transaction in MessagePack": Case(
        f"POST {SEND}", 400, "bad_request", "no transaction",
        {"content": pack([]), "headers": MSGPACK},
    ),
    "an empty body": Case(f"POST {SEND}", 415, "unsupported_media_type", "application/json"),
    "another content type": Case(
        f"POST {SEND}", 415, "unsupported_media_type", "application/msgpack",
        {"content": b"aa", "headers": TEXT},
    ),
    "one transaction too many": Case(
        f"POST {SEND}", 413, "too_many_transactions", "5001 are more than 5000",
        {"content": pack([b"aa"] * 5_001), "headers": MSGPACK},
    ),
    "a body one byte too long": Case(
        f"POST {SEND}", 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": MSGPACK},
        headers={"connection": "close"},
    ),
    "another kind of waiting": Case(
        f"POST {SEND}?wait=forever", 400, "bad_request", "query.wait", ONE
    ),
    "one transaction that is refused": Case(
        f"POST {SEND}", 422, "nonce_used", "nonce 4 was used already", ONE,
        refuse("nonce_used", nonce=4, expected=5),
    ),
    "one that is refused after waiting": Case(
        f"POST {SEND}?wait=commit", 422, "nonce_used", "nonce 4 was used already", ONE,
        refuse("nonce_used", nonce=4, expected=5),
    ),
    "one whose bytes are no transaction": Case(
        f"POST {SEND}", 400, "not_canonical", "canonical transaction", ONE,
        refuse("not_canonical", what="transaction"),
    ),
    "one of an unknown kind": Case(
        f"POST {SEND}", 400, "unknown_kind", "kind 99", ONE, refuse("unknown_kind", kind=99)
    ),
    "one that is too long": Case(
        f"POST {SEND}", 400, "too_large", "20000 bytes", ONE,
        refuse("too_large", size=20_000, limit=16_384),
    ),
    "a full pool": Case(
        f"POST {SEND}", 503, "busy", "again", ONE, fail(Busy("")), {"retry-after": "1"}
    ),
    "sending without a ledger process": Case(
        f"POST {SEND}", 503, "unavailable", "again", ONE, fail(Lost("")), {"retry-after": "1"}
    ),
    "reading where only sending is": Case(
        f"GET {SEND}", 405, "method_not_allowed", "POST", headers={"allow": "POST"}
    ),
    # transactions
    "a transaction that was never seen": Case(
        f"GET {SEND}/{HASH}", 404, "not_found", HASH, prepare=forget("transaction")
    ),
    "a hash of another length": Case(f"GET {SEND}/abcd", 400, "bad_request", "path.hash"),
    "a hash that is not hex": Case(f"GET {SEND}/{'zz' * 32}", 400, "bad_request", "path.hash"),
    # nodes
    "a node that is not registered": Case(
        f"GET /v1/nodes/{NODE}", 404, "not_found", NODE, prepare=forget("node")
    ),
    "an account in place of a node": Case(
        f"GET /v1/nodes/{ACCOUNT}", 400, "bad_request", "address of an account"
    ),
    "a node's address with a slip": Case(
        f"GET /v1/nodes/{NODE[:-1]}q", 400, "bad_request", "checksum"
    ),
    "a page of nothing": Case("GET /v1/nodes?limit=0", 400, "bad_request", "query.limit"),
    "a page too long": Case("GET /v1/nodes?limit=201", 400, "bad_request", "query.limit"),
    "a limit that is no number": Case("GET /v1/nodes?limit=x", 400, "bad_request", "query.limit"),
    "a state that does not exist": Case(
        "GET /v1/nodes?state=asleep", 400, "bad_request", "awaiting, queued, active"
    ),
    "a cursor of somebody else": Case("GET /v1/nodes?cursor=a!", 400, "bad_request", "cursor"),
    "a cursor that is too short": Case("GET /v1/nodes?cursor=AAAA", 400, "bad_request", "cursor"),
    "a cursor that is too long": Case(
        f"GET /v1/nodes?cursor={'A' * 500}", 400, "bad_request", "cursor"
    ),
    "a cursor of a height that is gone": Case(
        f"GET /v1/nodes?cursor={encode_cursor(7, bytes(32))}", 410, "height_gone", "first page"
    ),
    "sending a node": Case(
        "POST /v1/nodes", 405, "method_not_allowed", "GET", headers={"allow": "GET"}
    ),
    "nodes while the ledger is busy": Case(
        "GET /v1/nodes", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    # accounts
    "a node in place of an account": Case(
        f"GET /v1/accounts/{NODE}", 400, "bad_request", "address of a node"
    ),
    "what is no address": Case("GET /v1/accounts/me", 400, "bad_request", "wpa1"),
    "an account without a ledger process": Case(
        f"GET /v1/accounts/{ACCOUNT}", 503, "unavailable", prepare=fail(Lost("")),
        headers={"retry-after": "1"},
    ),
    # trust paths
    "a path to no epoch": Case("GET /v1/trust/x", 400, "bad_request", "epoch"),
    "a path from no epoch": Case("GET /v1/trust/5?from=x", 400, "bad_request", "from"),
    "a path to where there is no header": Case(
        "GET /v1/trust/999", 404, "not_found", "path to epoch 999", prepare=forget("trust")
    ),
    "a path over a snapshot": Case(
        "GET /v1/trust/5", 422, "bad_path", "not kept",
        prepare=fail(Refusal("bad_path", why="it is not kept")),
    ),
    "a path while the ledger is busy": Case(
        "GET /v1/trust/5", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "a path without a ledger process": Case(
        "GET /v1/trust/5", 503, "unavailable", prepare=fail(Lost("")), headers={"retry-after": "1"}
    ),
    # proofs
    **{
        f"{name}: {path}": row._replace(request=f"GET {PROOFS}{path}{row.request}")
        for path in ("pool", f"nodes/{NODE}")
        for name, row in UNPROVEN.items()
    },
    "the running epoch's state": Case(f"GET {PROOFS}pool?epoch=49", 404, "not_due", "1740 s"),
    "a table that there is not": Case(f"GET {PROOFS}coins", 400, "bad_request", "accounts, bind"),
    "a key that there is not": Case(f"GET {PROOFS}nodes/me", 400, "bad_request", "is hex"),
    "a table without the key": Case(f"GET {PROOFS}nodes", 400, "bad_request", "node 32"),
    "a key for a table without one": Case(f"GET {PROOFS}pool/00", 400, "bad_request", "none"),
    "a key that is too short": Case(
        f"GET {PROOFS}nodes/{31 * '00'}", 400, "bad_request", "node 32"
    ),
    "an account's address among nodes": Case(
        f"GET {PROOFS}nodes/{ACCOUNT}", 400, "bad_request", "an address where it is one of theirs"
    ),
    # the network
    "deleting the network": Case(
        "DELETE /v1/network", 405, "method_not_allowed", "GET", headers={"allow": "GET"}
    ),
    "an epoch that has no header": Case(
        "GET /v1/epochs/9", 404, "not_found", "epoch 9", prepare=forget("epoch")
    ),
    "an epoch below zero": Case("GET /v1/epochs/-1", 400, "bad_request", "path.epoch"),
    "an epoch of 65 bits": Case(f"GET /v1/epochs/{2**64}", 400, "bad_request", "path.epoch"),
    "an epoch that is no number": Case("GET /v1/epochs/new", 400, "bad_request", "path.epoch"),
    "a block that is not there": Case(
        "GET /v1/blocks/9", 404, "not_found", "block 9", prepare=forget("block")
    ),
    "a block below zero": Case("GET /v1/blocks/-1", 400, "bad_request", "path.height"),
    "blocks from nowhere": Case("GET /v1/blocks", 400, "bad_request", "query.start"),
    "too many blocks": Case(
        "GET /v1/blocks?start=1&limit=201", 400, "bad_request", "query.limit"
    ),
    "blocks while the ledger is busy": Case(
        "GET /v1/blocks?start=1", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "attestors while the ledger is busy": Case(
        "GET /v1/attestors", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "a height that is gone": Case(
        "GET /v1/attestors", 410, "height_gone", prepare=fail(Gone(""))
    ),
    # offences
    "a report that is no JSON": Case(
        f"POST {REPORTS}", 400, "bad_request", "body is not right",
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ),
    "a report in another field": Case(
        f"POST {REPORTS}", 400, "bad_request", '"transaction" and nothing else',
        {"json": {"evidence": "aa"}},
    ),
    "a report that is not hex": Case(
        f"POST {REPORTS}", 400, "bad_request", "transaction is not hex",
        {"json": {"transaction": "xy"}},
    ),
    "several reports at once": Case(
        f"POST {REPORTS}", 400, "bad_request", "body is not right",
        {"content": pack([REPORT]), "headers": MSGPACK},
    ),
    "a report without a type": Case(
        f"POST {REPORTS}", 415, "unsupported_media_type", "application/msgpack",
        {"content": REPORT, "headers": TEXT},
    ),
    "a report one byte too long": Case(
        f"POST {REPORTS}", 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": MSGPACK},
        headers={"connection": "close"},
    ),
    "a report that is no transaction": Case(
        f"POST {REPORTS}", 400, "not_canonical", "canonical transaction",
        {"content": pack(b"\x92"), "headers": MSGPACK},
    ),
    "a transfer in place of a report": Case(
        f"POST {REPORTS}", 400, "bad_request", "transfer, no report",
        {"json": {"transaction": TRANSFER.hex()}},
    ),
    "another kind of waiting for a report": Case(
        f"POST {REPORTS}?wait=forever", 400, "bad_request", "query.wait", A_REPORT
    ),
    "a report that proves nothing": Case(
        f"POST {REPORTS}", 422, "no_contradiction", "both votes are a pass", A_REPORT,
        refuse("no_contradiction", REPORT, why="both votes are a pass"),
    ),
    "a report of what was punished": Case(
        f"POST {REPORTS}?wait=commit", 422, "punished_already", "at height 7", A_REPORT,
        refuse("punished_already", REPORT, height=7),
    ),
    "a report to a full pool": Case(
        f"POST {REPORTS}", 503, "busy", "again", A_REPORT, fail(Busy("")), {"retry-after": "1"}
    ),
    "evidence in another field": Case(
        f"POST {CHECK}", 400, "bad_request", '"evidence" and nothing else', A_REPORT
    ),
    "evidence that is no file": Case(
        f"POST {CHECK}", 400, "not_canonical", "canonical evidence file",
        {"json": {"evidence": "aa"}},
    ),
    "evidence that is forged": Case(
        f"POST {CHECK}", 422, "bad_signature", "does not fit",
        {"content": pack(FORGED), "headers": MSGPACK},
    ),
    "evidence that proves nothing": Case(
        f"POST {CHECK}", 422, "no_contradiction", "both votes are a pass",
        {"json": {"evidence": USELESS.hex()}},
    ),
    "evidence of what was punished": Case(
        f"POST {CHECK}", 422, "punished_already", "at height 7", SOME_EVIDENCE,
        fail(Refusal("punished_already", height=7)),
    ),
    "evidence without a type": Case(
        f"POST {CHECK}", 415, "unsupported_media_type", "application/json",
        {"content": EVIDENCE, "headers": TEXT},
    ),
    "evidence one byte too long": Case(
        f"POST {CHECK}", 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": MSGPACK},
        headers={"connection": "close"},
    ),
    "evidence while the ledger is busy": Case(
        f"POST {CHECK}", 503, "busy", "again", SOME_EVIDENCE, fail(Busy("")), {"retry-after": "1"}
    ),
    "a page of no reports": Case(f"GET {REPORTS}?limit=0", 400, "bad_request", "query.limit"),
    "a page of too many reports": Case(
        f"GET {REPORTS}?limit=201", 400, "bad_request", "query.limit"
    ),
    "reports of a height that is gone": Case(
        f"GET {REPORTS}?cursor={encode_cursor(7, bytes(12))}", 410, "height_gone", "first page"
    ),
    "reports while the ledger is busy": Case(
        f"GET {REPORTS}", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "a report that is not there": Case(
        f"GET {REPORTS}/9/0", 404, "not_found", "report 9/0", prepare=forget("report")
    ),
    "a report below zero": Case(f"GET {REPORTS}/9/-1", 400, "bad_request", "path.index"),
    "rules while the ledger is busy": Case(
        "GET /v1/rules", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    # votes, taking part
    "votes that are no JSON": Case(
        f"POST {VOTES}", 400, "bad_request", "JSON",
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ),
    "neither votes nor a vote": Case(f"POST {VOTES}", 400, "bad_request", "either", {"json": {}}),
    "both votes and a vote": Case(
        f"POST {VOTES}", 400, "bad_request", "either", {"json": {"vote": VOTE, "votes": [VOTE]}}
    ),
    "no vote": Case(f"POST {VOTES}", 400, "bad_request", "no vote", {"json": {"votes": []}}),
    "a vote with another field": vote_with("unknown field", place=3),
    "a vote in an epoch below zero": vote_with("$.vote.epoch", epoch=-1),
    "a vote in an epoch past all": vote_with("$.vote.epoch", epoch=2**63),
    "a vote on a life past all": vote_with("$.vote.life", life=2**32),
    "a vote with a fault past all": vote_with("$.vote.faults", faults=64),
    "a vote with a fault of no name": vote_with("'slow' is no fault", faults=["slow"]),
    "a vote on an account": vote_with("account", node=ACCOUNT),
    "a vote by an account": vote_with("account", tester=ACCOUNT),
    "a vote whose signature is short": vote_with("vote 0 is no 128", signature="ab" * 63),
    "a vote whose signature is no hex": vote_with("vote 0 is no 128", signature="xy" * 64),
    "votes that are no MessagePack": Case(
        f"POST {VOTES}", 400, "bad_request", "array of arrays",
        {"content": b"\xc1", "headers": MSGPACK},
    ),
    "a bare vote as MessagePack": Case(
        f"POST {VOTES}", 400, "bad_request", "array of arrays",
        {"content": pack(PACKED_VOTE), "headers": MSGPACK},
    ),
    "a vote that is too long as MessagePack": Case(
        f"POST {VOTES}", 400, "bad_request", "array of arrays",
        {"content": pack([[*PACKED_VOTE, 0]]), "headers": MSGPACK},
    ),
    "a vote with a short key as MessagePack": Case(
        f"POST {VOTES}", 400, "bad_request", "array of arrays",
        {"content": pack([[1, bytes(31), *PACKED_VOTE[2:]]]), "headers": MSGPACK},
    ),
    "no vote in MessagePack": Case(
        f"POST {VOTES}", 400, "bad_request", "no vote", {"content": pack([]), "headers": MSGPACK}
    ),
    "a vote of another content type": Case(
        f"POST {VOTES}", 415, "unsupported_media_type", "application/msgpack",
        {"content": pack([PACKED_VOTE]), "headers": TEXT},
    ),
    "one vote too many": Case(
        f"POST {VOTES}", 413, "too_many_votes", "5001 are more than 5000",
        {"content": pack([PACKED_VOTE] * 5_001), "headers": MSGPACK},
    ),
    "votes one byte too long": Case(
        f"POST {VOTES}", 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": MSGPACK},
        headers={"connection": "close"},
    ),
    "one vote that is refused": Case(
        f"POST {VOTES}", 422, "verdict_closed", "epoch 48 takes no votes", {"json": {"vote": VOTE}},
        lambda site: site.ledger.vote_fates.update(
            {bytes.fromhex(VOTE["signature"]): refused_vote(Refusal("verdict_closed", epoch=48))}
        ),
    ),
    "votes to a full service": Case(
        f"POST {VOTES}", 503, "busy", "again", {"json": {"vote": VOTE}}, fail(Busy("")),
        {"retry-after": "1"},
    ),
    "votes on an account": Case(f"GET {VOTES}/1/{ACCOUNT}", 400, "bad_request", "account"),
    "votes in an epoch below zero": Case(
        f"GET {VOTES}/-1/{NODE}", 400, "bad_request", "path.epoch"
    ),
    "votes on a node that is not tested": Case(
        f"GET {VOTES}/1/{NODE}", 404, "not_found", "tested in epoch 1", prepare=forget("votes")
    ),
    "votes while the ledger is busy": Case(
        f"GET {VOTES}/1/{NODE}", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "contradictions while the ledger is busy": Case(
        f"GET {VOTES}", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "taking part in no epoch": Case(f"{PARTICIPATION}?epochs=0", 400, "bad_request", "epochs"),
    "taking part in too many epochs": Case(
        f"{PARTICIPATION}?epochs=97", 400, "bad_request", "epochs"
    ),
    "taking part while the ledger is busy": Case(
        PARTICIPATION, 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "a node while the ledger is busy": Case(
        f"GET /v1/nodes/{NODE}", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    # a node's own programs
    **{
        f"{what} of a node that there is not": Case(
            f"GET /v1/nodes/{NODE}/{what}", 404, "not_found", NODE, prepare=forget(what)
        )
        for what in OWN
    },
    **{
        f"{what} of an account": Case(
            f"GET /v1/nodes/{ACCOUNT}/{what}", 400, "bad_request", "address of an account"
        )
        for what in OWN
    },
    **{
        f"{what} while the ledger is busy": Case(
            f"GET /v1/nodes/{NODE}/{what}", 503, "busy", prepare=fail(Busy("")),
            headers={"retry-after": "1"},
        )
        for what in OWN
    },
    "a swarm since before the first epoch": Case(
        f"GET /v1/nodes/{NODE}/swarm?since=-1", 400, "bad_request", "query.since"
    ),
    "a swarm since more than a number": Case(
        f"GET /v1/nodes/{NODE}/swarm?since={2**63}", 400, "bad_request", "query.since"
    ),
    "a history of no epoch": Case(
        f"GET /v1/nodes/{NODE}/history?epochs=0", 400, "bad_request", "query.epochs"
    ),
    "a history that is too long": Case(
        f"GET /v1/nodes/{NODE}/history?epochs=337", 400, "bad_request", "query.epochs"
    ),
    "a check-in that is not JSON": Case(
        CHECK_IN, 400, "bad_request", "not right",
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ),
    "a check-in under another name": Case(
        CHECK_IN, 400, "bad_request", 'send "check_in"', {"json": {"transaction": "aa"}}
    ),
    "a check-in that is not hex": Case(
        CHECK_IN, 400, "bad_request", "check_in is not hex", {"json": {"check_in": "a"}}
    ),
    "a check-in as text": Case(
        CHECK_IN, 415, "unsupported_media_type", "application/json",
        {"content": b"aa", "headers": TEXT},
    ),
    "a check-in that is far too long": Case(
        CHECK_IN, 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": MSGPACK},
        headers={"connection": "close"},
    ),
    "bytes that are no check-in": Case(
        CHECK_IN, 400, "not_canonical", "check-in", IN_HEX,
        turn_away("not_canonical", what="check-in"),
    ),
    "a check-in of nobody": Case(
        CHECK_IN, 422, "unknown_node", "", IN_HEX, turn_away("unknown_node")
    ),
    "a check-in that somebody else signed": Case(
        CHECK_IN, 422, "bad_signature", "", IN_HEX, turn_away("bad_signature")
    ),
    "a check-in by a wrong clock": Case(
        CHECK_IN, 422, "check_in_time", "set the clock", IN_HEX,
        turn_away("check_in_time", time_ms=1, now_ms=400_000, most_ms=300_000),
    ),
    "a check-in that is not the newest": Case(
        CHECK_IN, 422, "check_in_old", "from 7", IN_HEX, turn_away("check_in_old", newest_ms=7)
    ),
    "a check-in to a full service": Case(
        CHECK_IN, 503, "busy", "again", IN_HEX, fail(Busy("")), {"retry-after": "1"}
    ),
    # events
    "an event id that is no height": Case(
        "GET /v1/events", 400, "bad_request", "Last-Event-ID",
        {"headers": {"last-event-id": "new"}},
    ),
    "too many streams": Case(
        "GET /v1/events", 503, "busy",
        prepare=lambda site: setattr(site.app.live.feed, "readers", 256),
        headers={"retry-after": "1"},
    ),
    # lists
    "a list that is not due": Case(
        "GET /v1/lists/49", 404, "not_due", "due in 1740 s",
        headers={"retry-after": "1740", "access-control-allow-origin": "*"},
    ),
    "a whole list that is not due": Case(
        "GET /v1/lists/50/full", 404, "not_due", headers={"retry-after": "3540"}
    ),
    "a list that is not kept": Case(
        "GET /v1/lists/3", 404, "not_kept", headers={"access-control-allow-origin": "*"}
    ),
    "a whole list that is not kept": Case("GET /v1/lists/3/full", 404, "not_kept"),
    "a slice that is not due": Case(
        f"GET /v1/lists/49/swarm/{64 * 'a'}", 404, "not_due", "ask"
    ),
    "a slice of a list that is not in memory": Case(
        f"GET /v1/lists/3/swarm/{64 * 'a'}", 404, "not_kept", "mirror"
    ),
    "a slice of the newest list that has no nodes": Case(
        f"GET /v1/lists/latest/swarm/{64 * 'a'}", 404, "not_kept", prepare=empty_lists
    ),
    "a slice before the first list": Case(
        f"GET /v1/lists/latest/swarm/{64 * 'a'}", 404, "not_found", "later", prepare=unfinal
    ),
    "a slice for what is no account": Case(
        f"GET /v1/lists/latest/swarm/{63 * 'a'}", 404, "not_found", "path"
    ),
    "a delta that is not due": Case("GET /v1/lists/49/delta/48", 404, "not_due", "ask"),
    "a delta that is not kept": Case("GET /v1/lists/3/delta/2", 404, "not_kept", "mirror"),
    "a delta with leading zeros": Case("GET /v1/lists/3/delta/02", 404, "not_found", "path"),
    "the newest list before the first": Case(
        "GET /v1/lists/latest", 404, "not_found", "final list yet", prepare=unfinal,
        headers={"retry-after": "10"},
    ),
    "a list of no epoch": Case("GET /v1/lists/newest", 404, "not_found", "path"),
    "a list with leading zeros": Case("GET /v1/lists/048", 404, "not_found", "path"),
    "a list in an unknown form": Case("GET /v1/lists/48/half", 404, "not_found", "path"),
    "a path out of the directory": Case(
        "GET /v1/lists/%2e%2e/%2e%2e/full", 404, "not_found", "path"
    ),
    "sending a list": Case(
        "POST /v1/lists/48", 405, "method_not_allowed", "GET, HEAD, OPTIONS",
        headers={"allow": "GET, HEAD, OPTIONS", "access-control-allow-origin": "*"},
    ),
    "a part of a list past its end": Case(
        "GET /v1/lists/48/full", 416, "range_beyond", "1001", {"headers": {"Range": "bytes=1001-"}},
        headers={"content-range": "bytes */1001", "access-control-allow-origin": "*"},
    ),
    "a manifest before the first": Case("GET /v1/lists/manifest", 404, "not_found", "later"),
    # JSON-RPC, whose own errors are in `test_json_rpc`
    "reading by JSON-RPC": Case(
        "GET /json_rpc", 405, "method_not_allowed", "POST", headers={"allow": "OPTIONS, POST"}
    ),
    "deleting what takes two methods": Case(
        "DELETE /v1/reports", 405, "method_not_allowed", "GET, POST", headers={"allow": "GET, POST"}
    ),
    "a call one byte too long": Case(
        "POST /json_rpc", 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": TEXT}, headers={"connection": "close"},
    ),
    "a call to a busy ledger process": Case(
        "POST /json_rpc", 503, "busy", "again", OLD_HASH, fail(Busy("")), {"retry-after": "1"}
    ),
    "a call to nobody": Case(
        "POST /json_rpc", 503, "unavailable", "again", OLD_HASH, fail(Lost("")),
        {"retry-after": "1"},
    ),
    "a slash too many behind JSON-RPC": Case("POST /json_rpc/", 404, "not_found", "/json_rpc/"),
    # health
    "ready with an old list": Case(
        "GET /health/ready", 503, "not_ready", "not fresh any more", prepare=age,
        headers={"retry-after": "1"},
    ),
    "ready without a ledger process": Case(
        "GET /health/ready", 503, "not_ready", "does not answer", prepare=disconnect
    ),
    "ready before the first final list": Case(
        "GET /health/ready", 503, "not_ready", "no list is final", prepare=unfinal
    ),
    # anything
    "a path that does not exist": Case("GET /v1/nothing", 404, "not_found", "path /v1/nothing"),
    "a slash too many": Case("GET /v1/network/", 404, "not_found", "path"),
    "a fault of the service": Case(
        "GET /v1/attestors", 500, "internal", "log", prepare=fail(RuntimeError("secret"))
    ),
    "an answer in another shape": Case(
        "GET /v1/attestors", 500, "internal", "log", prepare=forget("attestors")
    ),
}  # fmt: skip


for _form in FORMS:
    CASES |= {
        f"list 49{_form} before it is due": Case(f"GET /v1/lists/49{_form}", 404, "not_due", "ask"),
        f"list 3{_form} that is not kept": Case(
            f"GET /v1/lists/3{_form}", 404, "not_kept", "mirror"
        ),
        f"latest{_form} before the first list": Case(
            f"GET /v1/lists/latest{_form}", 404, "not_found", "later", prepare=unfinal
        ),
        f"latest{_form} that is not kept": Case(
            f"GET /v1/lists/latest{_form}", 404, "not_kept", "mirror", prepare=unkept
        ),
    }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refusal(site: Site, case: Case) -> None:
    case.prepare(site)
    method, path = case.request.split(" ")
    before = what_there_is(site)
    answer = site.client.request(method, path, **case.body)
    assert what_there_is(site) == before
    # nothing was sent, unless it was the ledger itself that refused it
    is_sent = any(call[0] in ("submit", "vote", "check_in") for call in site.ledger.calls)
    fates = site.ledger.fates or site.ledger.vote_fates or site.ledger.check_in_fate["code"]
    assert not is_sent or fates or site.ledger.error
    assert answer.status_code == case.status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail", "values"]
    assert problem["type"] == case.code
    assert problem["title"] == case.code.replace("_", " ")
    assert problem["status"] == case.status == status_of(case.code)
    assert case.says in problem["detail"]
    assert "secret" not in answer.text
    faults = [line for line in site.logs if line["log_level"] == "error"]
    assert len(faults) == (case.code == "internal")
    for name, value in case.headers.items():
        assert answer.headers[name] == value


def what_there_is(site: Site) -> tuple[Any, ...]:
    """What a refusal must leave as it was: the view, the streams, the files."""
    files = sorted(site.publish.rglob("*"))
    return id(site.app.live.newest), site.app.live.feed.readers, files


BEFORE_A_VIEW = (
    *("/v1/network", "/v1/nodes", f"/v1/nodes/{NODE}", f"/v1/accounts/{ACCOUNT}", "/v1/attestors"),
    *(f"/v1/nodes/{NODE}/{what}" for what in OWN),
    *("/v1/epochs/1", "/v1/blocks/1", "/v1/blocks?start=1", "/v1/genesis", "/v1/events"),
    f"/v1/transactions/{HASH}",
    *("/v1/reports", "/v1/reports/1/0", "/v1/rules", "/v1/participation"),
    *("/v1/verdicts", f"/v1/verdicts/1/{NODE}"),
    *("/v1/proofs/pool", f"/v1/proofs/nodes/{NODE}"),
    *(f"/v1/lists/{epoch}{form}" for epoch in ("latest", "1") for form in FORMS),
    *("/v1/lists/manifest", "/v1/lists/1/delta/0", f"/v1/lists/1/swarm/{64 * 'a'}"),
    f"/v1/lists/latest/swarm/{64 * 'a'}",
)


@pytest.mark.parametrize("path", BEFORE_A_VIEW)
def test_unavailable_before_a_view(blind: Site, path: str) -> None:
    answer = blind.client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


ALWAYS = {"GET /health/live", "GET /metrics"}
"""What is answered whatever happens."""

BY_THE_CLOCK = {"too_slow"}
"""Codes of requests that take long: `test_edge` has them."""


def test_each_endpoint_has_a_row_for_each_of_its_codes(site: Site) -> None:
    rows = {(case.request.partition("?")[0], case.code) for case in CASES.values()}
    rows |= {(f"GET {path}".partition("?")[0], "unavailable") for path in BEFORE_A_VIEW}
    for path, item in site.app.framework.openapi()["paths"].items():
        form = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
        for method in set(item) & {"get", "post"}:
            pattern = f"{method.upper()} {form}"
            refused = {code for request, code in rows if re.fullmatch(pattern, request)}
            assert refused or f"{method.upper()} {path}" in ALWAYS, path
            missing = documented(item[method]) - refused - BY_THE_CLOCK
            assert not missing, f"{method.upper()} {path} has no row for {missing}"


def documented(operation: dict[str, Any]) -> set[str]:
    """The codes that the description of an operation names."""
    texts = [response["description"] for response in operation["responses"].values()]
    named = [text.removeprefix("A problem: ") for text in texts if text.startswith("A problem: ")]
    return set(re.findall(r"\w+", " ".join(named)))


@pytest.mark.parametrize("code", SERVICE_PROBLEMS)
def test_a_text_says_what_to_do(code: str) -> None:
    assert ADVICE.search(SERVICE_PROBLEMS[code].text), SERVICE_PROBLEMS[code].text


def test_every_code_of_the_service_has_a_row() -> None:
    # test_wire.py and test_limits.py have those
    below_http = {"too_slow", "head_too_large"}
    below_http |= {"too_many_requests", "too_many_streams", "too_many_connections"}
    assert set(SERVICE_PROBLEMS) - {case.code for case in CASES.values()} == below_http


@pytest.mark.parametrize("wait", ["", "?wait=commit"])
def test_nothing_is_sent_before_a_view(blind: Site, wait: str) -> None:
    answer = blind.client.post(f"{SEND}{wait}", json={"transaction": "aa"})
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")


def test_a_process_without_a_view_lives_and_is_not_ready(blind: Site) -> None:
    assert blind.client.get("/health/live").json() == {"status": "live"}
    reasons = blind.client.get("/health/ready").json()["values"]["reasons"]
    assert reasons == "the ledger process does not answer; no view has arrived"


def test_each_code_has_one_meaning() -> None:
    assert not set(SERVICE_PROBLEMS) & set(REFUSALS)
    assert set(REFUSAL_STATUS) <= set(REFUSALS)


def test_a_problem_may_have_its_own_words() -> None:
    body = msgspec.json.decode(make_problem("bad_key", {"field": "x"}, detail="another").body)
    assert body["detail"] == "another"
    assert body["values"] == {"field": "x"}
