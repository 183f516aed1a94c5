"""Where a node begins that begins with a snapshot: a block of CometBFT that a signed list names."""

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from msgspec.structs import replace
from nacl import bindings

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET
from ledger.params import Params
from registry.client.transport import Unavailable
from registry.cometbft import trust
from registry.cometbft.config import Begin
from registry.cometbft.headers import (
    CometHeader,
    Commit,
    SignedBlock,
    Vote,
    hash_header,
    hash_validators,
    is_agreed,
    vote_bytes,
)
from registry.cometbft.trust import NoTrust, find_trust, go_back
from tests.factory import keys, make_genesis, public
from tests.flip import flip
from tests.registry.cli.fake_service import FakeService, run_service

EMPTY: Final = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
VALIDATORS: Final = "02052AF636AAD95840AD831810B1A0043419EB123671EA107D79918080468FEA"

FIRST: Final[dict[str, Any]] = {
    "version": {"block": "11", "app": "1"},
    "chain_id": "waypost-comet-d760a295",
    "height": "1",
    "time": "2026-11-29T08:20:08.065Z",
    "last_block_id": {"hash": "", "parts": {"total": 0, "hash": ""}},
    "last_commit_hash": EMPTY,
    "data_hash": EMPTY,
    "validators_hash": VALIDATORS,
    "next_validators_hash": VALIDATORS,
    "consensus_hash": "D566534696F918CF4C326CC876A5151B130519BFB5B9DE3DE68A7BB8A77134A2",
    "app_hash": "4AF7406193D1DC6E45A8776A8CE5FF954239EA614632D01AC1C056733E4860F9",
    "last_results_hash": EMPTY,
    "evidence_hash": EMPTY,
    "proposer_address": "55D51B3CC9070A6C742AAFFF50266D17518E1CC8",
}
"""The first header of a network that ran CometBFT 0.38.25."""

FOURTH: Final[dict[str, Any]] = FIRST | {
    "height": "4",
    "time": "2026-11-29T08:20:14.396921491Z",
    "last_block_id": {
        "hash": "D5D7929D9E987598EAB41270E6855B9B01D82459E50B28CFB9B7D2A1CD555149",
        "parts": {
            "total": 1,
            "hash": "7C3E0D91C08CF9165B82E079AC49AC455E4A90F6F584EAD190B02E0A1C650733",
        },
    },
    "last_commit_hash": "11E4FA6CA1C7ED90BB1441B7BAE05AAE4A31D832EC20D16E3519598017E3FFC5",
    "app_hash": "E63797CFC366C330D361CC850C481B04A04E05FE11DA38BDA180225316C22EF7",
}

COMMIT: Final[dict[str, Any]] = {
    "height": "4",
    "round": 0,
    "block_id": {
        "hash": "D6E371699C72381662F3323B972388190335155A72FBB22B18F770D4AA31E39A",
        "parts": {
            "total": 1,
            "hash": "53A16BE14BCDA8E2E6CCD1F561251A9850FDB5FBE4AC6C13ECFC29DC2CB1302B",
        },
    },
    "signatures": [
        {
            "block_id_flag": 2,
            "validator_address": "55D51B3CC9070A6C742AAFFF50266D17518E1CC8",
            "timestamp": "2026-11-29T08:20:15.215739129Z",
            "signature": "d/CzQjxiNFVfIfFkSG/vimaWtKykzQ+24i2i9OwA81HQDN8c07Z/W0bGxew66ZWkGvw3ozVf"
            "jLvfYkQsmaN3Bw==",
        }
    ],
}
"""The votes for it."""

VALIDATOR: Final = bytes.fromhex("f8bd580e6955a5be75fe6e898f4020d91c04ec8b7a725ae74b523a17f62c3b2d")
"""Who gave them."""

HASHES: Final = {
    "the first": (FIRST, "964AED4BB974C40C6A01DF2C3C472D6A05579E20C5C26F78E960C0665D2F4683"),
    "a later one": (FOURTH, "D6E371699C72381662F3323B972388190335155A72FBB22B18F770D4AA31E39A"),
}


def hash_of(fields: dict[str, Any]) -> bytes:
    return hash_header(msgspec.convert(fields, CometHeader))


@pytest.mark.parametrize(("fields", "wanted"), HASHES.values(), ids=HASHES)
def test_a_header_has_the_hash_that_cometbft_gives_it(fields: dict[str, Any], wanted: str) -> None:
    assert hash_of(fields).hex().upper() == wanted


def test_validators_have_the_hash_that_cometbft_gives_them() -> None:
    assert hash_validators([VALIDATOR]).hex().upper() == VALIDATORS
    pair = [VALIDATOR, bytes(32)]
    assert hash_validators(pair) == hash_validators(pair[::-1]) != hash_validators([VALIDATOR])


def block_of(header: dict[str, Any], commit: dict[str, Any]) -> SignedBlock:
    return msgspec.convert({"header": header, "commit": commit}, SignedBlock)


def test_a_vote_is_verified_that_cometbft_signed() -> None:
    assert is_agreed(block_of(FOURTH, COMMIT), [VALIDATOR])


NOT_AGREED: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "another header": ({"data_hash": "00" * 32}, {}),
    "another height": ({}, {"height": "5"}),
    "another round": ({}, {"round": 1}),
    "another block": ({}, {"block_id": COMMIT["block_id"] | {"hash": "00" * 32}}),
    "other parts": ({}, {"block_id": COMMIT["block_id"] | {"parts": {"total": 2, "hash": ""}}}),
    "nobody": ({}, {"signatures": []}),
    **{
        name: ({}, {"signatures": [COMMIT["signatures"][0] | change]})
        for name, change in {
            "a vote for nothing": {"block_id_flag": 3},
            "an absent one": {"block_id_flag": 1},
            "somebody else": {"validator_address": "00" * 20},
            "another time": {"timestamp": "2026-11-29T08:20:15.215739128Z"},
            "no signature": {"signature": None},
            "a signature that is too short": {"signature": "AAAA"},
        }.items()
    },
}


@pytest.mark.parametrize(("header", "commit"), NOT_AGREED.values(), ids=NOT_AGREED)
def test_what_is_no_agreement(header: dict[str, Any], commit: dict[str, Any]) -> None:
    assert not is_agreed(block_of(FOURTH | header, COMMIT | commit), [VALIDATOR])


def test_two_thirds_are_too_few_and_nobody_votes_twice() -> None:
    others = [public("a"), public("b")]
    assert not is_agreed(block_of(FOURTH, COMMIT), [VALIDATOR, *others[:1]])
    thrice = COMMIT | {"signatures": COMMIT["signatures"] * 3}
    assert not is_agreed(block_of(FOURTH, thrice), [VALIDATOR, *others])


CHANGED: Final[dict[str, Any]] = {
    "version": {"block": "11", "app": "2"},
    "chain_id": "waypost-comet-d760a296",
    "height": "5",
    "time": "2026-11-29T08:20:14.396921492Z",
    "last_block_id": FOURTH["last_block_id"] | {"hash": "00" * 32},
    **{name: "00" * 32 for name in FOURTH if name.endswith("_hash")},
    "proposer_address": "00" * 20,
}


@pytest.mark.parametrize("name", FOURTH)
def test_every_field_is_in_the_hash(name: str) -> None:
    assert hash_of(FOURTH | {name: CHANGED[name]}) != hash_of(FOURTH)


BAD: Final = {
    "a time with an offset": {"time": "2026-11-29T08:20:14+01:00"},
    "no time": {"time": ""},
    "no height": {"height": "four"},
    "a height below all": {"height": "-1"},
    "no hash": {"data_hash": "xy"},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_no_header_holds(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        hash_of(FOURTH | change)


# --- asking --------------------------------------------------------------------------------------

CHAIN: Final = "a-chain"
DAY: Final = "2026-11-29"


def make_error(data: str) -> bytes:
    """An error as CometBFT words it."""
    error = {"code": -32603, "message": "Internal error", "data": data}
    return json.dumps({"jsonrpc": "2.0", "id": -1, "error": error}).encode()


NOT_YET: Final = make_error(
    "height 9 must be less than or equal to the current blockchain height 8"
)
GONE: Final = make_error("height 9 is not available, lowest height is 20")


class Rpc:
    """A CometBFT that has two blocks."""

    def __init__(self, first: dict[str, Any], second: dict[str, Any], voters: list[str]) -> None:
        self.first, self.second = first, second
        self.voters = voters
        """Names of those who vote for the second block."""
        self.asked: list[str] = []
        self.older: dict[int, dict[str, Any]] = {}
        """Its blocks before those two, by height."""
        self.pages = 0
        """How often it was asked for some of them."""
        self.body: bytes | None = None
        """What it answers instead."""
        self.late = 0
        """How often it says first that it has no such block."""
        self.url = ""

    def answer(self, target: str) -> bytes:
        """Return the body."""
        parts = urlsplit(target)
        if parts.path == "/blockchain":
            return self.answer_older(parse_qs(parts.query))
        assert parts.path == "/commit"
        if self.late:
            self.late -= 1
            return NOT_YET
        height = parse_qs(parts.query)["height"][0]
        self.asked.append(height)
        is_first = len(self.asked) % 2 == 1
        header = self.first if is_first else self.second
        commit = sign_commit(header, [] if is_first else self.voters)
        block = {"header": header, "commit": msgspec.to_builtins(commit)}
        result = {"signed_header": block, "canonical": True}
        return self.body or json.dumps({"jsonrpc": "2.0", "id": -1, "result": result}).encode()

    def answer_older(self, query: dict[str, list[str]]) -> bytes:
        """Return up to 20 headers, the newest first; an error where there are none."""
        low, high = int(query["minHeight"][0]), int(query["maxHeight"][0])
        assert 1 <= low <= high < low + 20
        self.pages += 1
        blocks = {int(self.first["height"]): self.first} | self.older
        metas = [{"header": blocks[h]} for h in range(high, low - 1, -1) if h in blocks]
        told = {"result": {"last_height": "9", "block_metas": metas}} if metas else {"error": {}}
        return json.dumps({"jsonrpc": "2.0", "id": -1} | told).encode()


def sign_commit(header: dict[str, Any], voters: list[str]) -> Commit:
    """The commit of a block for which these voted."""
    digest = hash_of(header) if "now" not in header["time"] else b""
    block_id = {"hash": digest.hex().upper(), "parts": COMMIT["block_id"]["parts"]}
    commit = msgspec.convert(
        {"height": header["height"], "round": 1, "block_id": block_id, "signatures": []}, Commit
    )
    votes = []
    for name in voters:
        pair = keys(name)
        vote = Vote(2, sha256(pair.public)[:20].hex().upper(), FOURTH["time"], None)
        signed = bindings.crypto_sign(vote_bytes(header["chain_id"], commit, vote), pair.secret)
        votes.append(replace(vote, signature=base64.b64encode(signed[:64]).decode()))
    return replace(commit, signatures=votes)


@contextmanager
def run_rpc(rpc: Rpc) -> Iterator[Rpc]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = rpc.answer(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        rpc.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield rpc
        finally:
            server.shutdown()
            thread.join()


class World:
    """A service with a final list, and two CometBFTs that have the two blocks after it."""

    def __init__(self, service: FakeService, one: Rpc, two: Rpc) -> None:
        self.service, self.one, self.two = service, one, two

    def find(self) -> Begin:
        network = self.service.network
        servers = (self.one.url, self.two.url + "/")
        return find_trust(
            network.raw, CHAIN, [self.service.url], servers, network.chain.tip.time_ms
        )


@pytest.fixture
def world() -> Iterator[World]:
    with run_service({"engine": COMET, "producer": b""}) as service:
        network = service.network
        for _ in range(2):
            network.end_epoch()
            height, root = network.chain.tip.height, network.chain.tip.root
            network.block()
        seats = load_genesis(network.raw).attestors
        names = [f"{seat.list_key.hex()} consensus" for seat in seats]
        validators = hash_validators([public(name) for name in names]).hex().upper()
        older = make_line(height)
        first = follow(older[height]) | {"app_hash": root.hex().upper()}
        second = follow(first) | {"validators_hash": validators}
        copies = [Rpc(dict(first), dict(second), list(names)) for _ in range(2)]
        for rpc in copies:
            rpc.older = dict(older)
        with run_rpc(copies[0]) as one, run_rpc(copies[1]) as two:
            yield World(service, one, two)


def make_line(count: int, step_ms: int = 1) -> dict[int, dict[str, Any]]:
    """So many headers from the first one on, each of which names the one before it."""
    line = {1: FIRST | {"chain_id": CHAIN, "time": f"{DAY}T00:00:00Z"}}
    for height in range(2, count + 1):
        ms = height * step_ms
        assert ms < 60_000_000
        minutes, seconds = ms // 60_000, ms // 1_000 % 60
        at = f"{DAY}T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{ms % 1_000:03}Z"
        line[height] = follow(line[height - 1]) | {"time": at}
    return line


def follow(first: dict[str, Any]) -> dict[str, Any]:
    """A header that comes after another one."""
    last = FOURTH["last_block_id"] | {"hash": hash_of(first).hex().upper()}
    height = str(int(first["height"]) + 1)
    return FOURTH | {"chain_id": first["chain_id"], "height": height, "last_block_id": last}


def test_a_block_before_all_snapshots_is_trusted(world: World) -> None:
    height = int(world.one.first["height"]) + 1
    assert world.find() == Begin(1, hash_of(world.one.older[1]))
    assert world.one.asked == world.two.asked == [str(height - 1), str(height)]
    assert world.one.pages == world.two.pages == -(-(height - 1) // 20)


@pytest.mark.parametrize("late", [1, 5])
def test_the_blocks_after_a_list_are_waited_for(
    world: World, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "PAUSE_S", 0.01)
    world.two.late = late
    assert world.find() == Begin(1, hash_of(world.one.older[1]))
    assert world.two.late == 0


def test_who_still_lacks_them_is_named_with_what_it_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "PATIENCE_S", -math.inf)
    world.two.body = NOT_YET
    with pytest.raises(NoTrust, match=r"has no block .* the current blockchain height 8"):
        world.find()


def test_who_let_them_go_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "PAUSE_S", math.inf)  # nobody can sleep that long
    world.two.body = GONE
    with pytest.raises(NoTrust, match=r"has no block .* lowest height is 20"):
        world.find()


@pytest.mark.parametrize("base", [2, 3])
def test_all_have_the_block_that_is_trusted(world: World, base: int) -> None:
    for height in range(1, base):
        del world.two.older[height]
    assert world.find() == Begin(base, hash_of(world.one.older[base]))


def test_the_first_block_after_the_list_is_trusted_if_there_are_no_more(world: World) -> None:
    world.one.older.clear()
    height = int(world.one.first["height"])
    assert world.find() == Begin(height, hash_of(world.one.first))


AGED: Final = Params(*make_genesis({"epoch_ms": 10_000, "block_ms": 1_000}).params)
"""Evidence is too old after 240 blocks and 240 seconds."""

FAR: Final[dict[str, tuple[int, int, Params, int]]] = {
    # blocks, milliseconds between two, parameters: where it ends
    "at the first": (400, 1_000, AGED, 1),
    "past both ages twice": (500, 1_000, AGED, 20),
    "by time, where blocks are quick": (700, 750, AGED, 60),
    "by blocks, where blocks are slow": (700, 2_000, AGED, 220),
    "within half of the trust": (400, 1_000, AGED._replace(trust_ms=200_000), 300),
}


def found_in(count: int, params: Params, line: dict[int, dict[str, Any]]) -> dict[int, bytes]:
    rpc = Rpc({"height": "0"}, {}, [])
    rpc.older = line
    with run_rpc(rpc):
        return go_back(rpc.url, msgspec.convert(line[count], CometHeader), params)


@pytest.mark.parametrize(("count", "step_ms", "params", "end"), FAR.values(), ids=FAR)
def test_how_far_it_goes_back(count: int, step_ms: int, params: Params, end: int) -> None:
    line = make_line(count, step_ms)
    found = found_in(count, params, line)
    # it comes in pages of 20
    assert end - 20 < min(found) <= end
    assert found == {height: hash_of(line[height]) for height in range(min(found), count + 1)}


BROKEN: Final[dict[str, dict[str, Any]]] = {
    "another header": {"data_hash": "00" * 32},
    "another height": {"height": "7"},
    "a header that is none": {"data_hash": "xy"},
}


@pytest.mark.parametrize("height", [1, 9, 10, 29])
@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_line_that_is_broken(change: dict[str, Any], height: int) -> None:
    line = make_line(30)
    line[height] |= change
    with pytest.raises(NoTrust, match=r"do not follow each other|cannot be read"):
        found_in(30, AGED, line)


def test_a_block_that_is_left_out() -> None:
    line = make_line(30)
    del line[15]
    with pytest.raises(NoTrust, match="do not follow each other"):
        found_in(30, AGED, line)


def _other_state(rpc: Rpc) -> None:
    rpc.first["app_hash"] = "00" * 32
    rpc.second["last_block_id"] = follow(rpc.first)["last_block_id"]


def _other_network(rpc: Rpc) -> None:
    rpc.first["chain_id"] = rpc.second["chain_id"] = "other"


def _other_heights(rpc: Rpc) -> None:
    rpc.second["height"] = "99"


def _other_first(rpc: Rpc) -> None:
    rpc.first["data_hash"] = "00" * 32


def _other_validators(rpc: Rpc) -> None:
    rpc.voters = ["stranger"]
    rpc.second["validators_hash"] = hash_validators([public("stranger")]).hex()


def _too_few(rpc: Rpc) -> None:
    rpc.voters = rpc.voters[: 2 * len(rpc.voters) // 3]


def _strangers(rpc: Rpc) -> None:
    rpc.voters = [f"stranger {number}" for number in range(9)]


def _no_time(rpc: Rpc) -> None:
    rpc.second["time"] = "now"


LIES: Final[dict[str, tuple[Callable[[Rpc], None], str]]] = {
    "another state": (_other_state, "another state after block"),
    "another network": (_other_network, "it is of other, not of a-chain"),
    "other blocks": (_other_heights, "other blocks than those that were asked for"),
    "blocks that are apart": (_other_first, "do not follow each other"),
    "other validators": (_other_validators, "are not those of the list's state"),
    "too few votes": (_too_few, "too few validators agreed"),
    "votes of strangers": (_strangers, "too few validators agreed"),
    "no block": (_no_time, "cannot be read"),
}


@pytest.mark.parametrize("liar", ["one", "two"])
@pytest.mark.parametrize(("lie", "why"), LIES.values(), ids=LIES)
def test_one_who_lies_is_named(
    world: World, liar: str, lie: Callable[[Rpc], None], why: str
) -> None:
    rpc: Rpc = getattr(world, liar)
    lie(rpc)
    with pytest.raises(NoTrust, match=f"{rpc.url}/?: .*{why}"):
        world.find()


def test_two_blocks_that_were_agreed_on_are_told(world: World) -> None:
    world.two.second["data_hash"] = "00" * 32
    with pytest.raises(NoTrust, match="agreed on two blocks"):
        world.find()


NO_ANSWERS: Final = {
    "an error": b'{"jsonrpc":"2.0","id":-1,"error":{"code":-32603,"message":"no"}}',
    "an error that is none": b'{"jsonrpc":"2.0","id":-1,"error":"no"}',
    "nothing": b"{}",
    "no JSON": b"<html>",
    "no text": b'{"result":{"signed_header":{"header":{"chain_id":"\xff"}}}}',
    "deep JSON": b'{"a":' * 10_000,
    "too much": b" " * (2**20 + 1),
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_one_who_has_no_answer(world: World, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "PATIENCE_S", -math.inf)
    world.two.body = body
    with pytest.raises(NoTrust, match=r"has no block|its answer is too long"):
        world.find()


ENOUGH: Final = {(1, 1): True, (2, 3): False, (3, 3): True, (2, 4): False, (3, 4): True}


@pytest.mark.parametrize(("votes", "validators"), ENOUGH)
def test_more_than_two_thirds_agree(votes: int, validators: int) -> None:
    names = [f"validator {number}" for number in range(validators)]
    block = SignedBlock(msgspec.convert(FOURTH, CometHeader), sign_commit(FOURTH, names[:votes]))
    assert is_agreed(block, [public(name) for name in names]) is ENOUGH[votes, validators]


@pytest.mark.parametrize("number", [-1, 2**63, 2**64])
def test_a_round_that_is_none_is_no_commit(number: int) -> None:
    block = block_of(FOURTH, COMMIT | {"round": number})
    with pytest.raises(ValueError, match="no such number"):
        is_agreed(block, [VALIDATOR])


def test_one_who_is_not_there(world: World) -> None:
    world.two.url = "http://127.0.0.1:1"
    with pytest.raises(NoTrust, match=r"127\.0\.0\.1:1/? does not answer"):
        world.find()


def test_without_a_list_nobody_is_asked(world: World) -> None:
    world.service.answers["/v1/lists/latest"] = (503, b"")
    with pytest.raises(Unavailable):
        world.find()
    assert world.one.asked == []


def test_a_list_that_does_not_hold_is_no_list(world: World) -> None:
    raw = world.service.answer("GET", "/v1/lists/latest", b"")[1]
    world.service.answers["/v1/lists/latest"] = (200, flip(raw))
    with pytest.raises(Refusal):
        world.find()
    assert world.one.asked == []


@pytest.mark.parametrize("body", [b"{}", b'{"proof": "00"}', b'{"proof": "x"}'])
def test_without_a_proof_nobody_knows_the_validators(world: World, body: bytes) -> None:
    world.service.answers["/v1/proofs/validators"] = (200, body)
    with pytest.raises(NoTrust, match="nobody proves who the validators are"):
        world.find()
    assert world.one.asked == []
