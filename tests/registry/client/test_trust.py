"""Paths: which hops a client takes and which it refuses, and what is left afterwards.

The cases stand in tables beside this file, in `trust`; `tests/vectors/trust.json` has them too.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from ledger.merkle import tree_root
from ledger.messages.lists import decode_signed_header
from registry.client import TrustedLists
from registry.client.checks import check_set, read_network, start_anchor
from registry.formats.bundle import Bundle, encode_bundle
from registry.formats.full import encode_full
from registry.formats.slice import Slice, encode_slice
from registry.formats.trust import Hop, Path, decode_anchor, encode_anchor, encode_path
from tests.registry.client.clients import refused
from tests.registry.client.factory import digest, make_swarm_leaves
from tests.registry.client.trust import hops, keeping, ways
from tests.registry.client.trust.hops import MAIN, NOW_MS, OTHER, A, B, C, D
from tests.registry.client.trust.line import Line, Seats, members_of, to
from tests.registry.client.verify.script import Case, Cases, Reader, plain

CLASSES: Final[dict[str, Cases]] = {**hops.CLASSES, **ways.CLASSES, **keeping.CLASSES}
CASES: Final[dict[str, Case]] = {
    f"{name}: {title}": case for name, cases in CLASSES.items() for title, case in cases.items()
}


def state(client: TrustedLists | None) -> tuple[object, ...]:
    """All that a client holds: what an update may change."""
    if client is None or client.is_empty:
        return (client and client.genesis_hash, client and client.is_single_signer)
    held = (client.header, client.signed_header, client.anchor_file, client.signers)
    return (*held, client.evidence, client.list_epoch, client.knows_history, client.genesis_hash)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_client_answers_each_step_and_a_refusal_changes_nothing(case: Case) -> None:
    reader = Reader()
    for step in case:
        before = state(reader.client)
        was_stopped = reader.client is not None and reader.client.evidence is not None
        values = {name: plain(value) for name, value in step.values.items()}
        answer = reader.take(step.do, values)
        assert answer.get("refused", "") == step.refused
        if step.refused == "fork" and not was_stopped:
            assert reader.client is not None
            held = reader.client.signed_header
            assert reader.client.evidence == (held, values["header"])
        elif step.refused:
            assert state(reader.client) == before
        elif step.do == "update":
            assert reader.client is not None
            assert reader.client.header.epoch == int.from_bytes(values["header"][6:14], "big")


def test_every_code_that_a_path_can_be_refused_with_is_here() -> None:
    shown = {step.refused for case in CASES.values() for step in case if step.do == "update"}
    assert shown == {
        *("", "bad_header", "unknown_format", "roll_back", "too_large", "bad_path", "succeeded"),
        *("trust_expired", "wrong_set", "unknown_attestor", "not_final", "bad_signature", "fork"),
        *("bad_history", "from_the_future", "list_expired"),
    }


# ---- The lines that the cases start from ----


def test_the_sets_have_in_common_what_their_names_say() -> None:
    def share(trusted: Seats, others: Seats) -> int:
        return sum(weight for seat, weight in trusted.items() if seat in others)

    assert sum(A.values()) == sum(B.values()) == sum(C.values()) == 9
    assert (share(A, B), share(B, C), share(A, C), share(C, D)) == (7, 7, 5, 2)
    assert (share(A, hops.HEAVY), share(A, hops.MANY), share(A, hops.TWO_THIRDS)) == (7, 4, 6)


def test_a_line_is_one_whose_history_goes_on() -> None:
    for line in (MAIN, OTHER, hops.SAVED, ways.STEADY):
        for made in line.made:
            assert made.header.history_root == tree_root(made.leaves)
            assert len(made.leaves) == made.header.epoch
    assert MAIN[2] == OTHER[2]
    assert MAIN[3] != OTHER[3]


# ---- What a client says of itself ----


def client_at(epoch: int | None, line: Line = MAIN) -> TrustedLists:
    """A client that holds a header and knows what came before, or has the genesis file only."""
    client = TrustedLists(line.genesis, NOW_MS)
    if epoch is not None:
        client.update(line[epoch].signed, line.along(epoch))
    return client


def blind(line: Line = MAIN) -> TrustedLists:
    """A client that holds the header of epoch 2 and does not know what came before."""
    client = client_at(None, line)
    client.update(line[2].signed)
    return client


WANTS: Final[dict[str, tuple[Callable[[], TrustedLists], int, bool]]] = {
    "any header, from genesis": (partial(client_at, None), 0, True),
    "the next one": (partial(client_at, 1), 2, False),
    "one after a gap": (partial(client_at, 0), 2, True),
    "the next one, by a set that is not known": (partial(client_at, 2), 3, True),
    "the next one, by a set that took over": (partial(client_at, 3), 4, False),
    "the one that is held": (partial(client_at, 2), 2, False),
    "an older one": (partial(client_at, 2), 1, False),
    "the one that is held, by who does not know what came before": (blind, 2, True),
}


@pytest.mark.parametrize(("make", "epoch", "wants"), WANTS.values(), ids=WANTS.keys())
def test_a_client_says_whether_it_wants_a_path(
    make: Callable[[], TrustedLists], epoch: int, wants: bool
) -> None:
    client = make()
    before = state(client)
    assert client.wants_path(MAIN[epoch].signed) is wants
    assert state(client) == before


def test_it_wants_none_once_it_knows_the_next_set() -> None:
    client = client_at(2)
    client.update(MAIN[2].signed, MAIN.path(2, to(2, B)))
    assert not client.wants_path(MAIN[3].signed)
    client.update(MAIN[3].signed)


def test_a_header_without_a_turn_wants_a_path() -> None:
    assert client_at(2).wants_path(hops.SAVED[3].signed)


@pytest.mark.parametrize(
    ("code", "signed"),
    [("bad_header", b""), ("bad_header", MAIN[2].signed[:-1]), ("unknown_format", b"\0\2" * 200)],
)
def test_no_header_wants_nothing(code: str, signed: bytes) -> None:
    signed = signed[:342] + bytes(4) if len(signed) == 400 else signed
    refused(code, lambda: client_at(2).wants_path(signed))


def test_a_client_says_whether_it_knows_the_history() -> None:
    client = blind()
    said = [client.knows_history]
    client.update(MAIN[2].signed, MAIN.path(None, to(2)))
    said.append(client.knows_history)
    assert said == [False, True]
    assert client_at(7).knows_history


def test_a_client_counts_the_signers_of_the_set_that_signed() -> None:
    client = client_at(2)
    client.update(MAIN[7].signed, MAIN.along(7, 2))
    assert client.signers == (4, 4, 4, 4)
    assert not client.is_single_signer
    alone = MAIN.branch(3, 4, {3: {0: 7, 1: 1, 4: 1}})
    client = client_at(None)
    client.update(alone[3].signed, alone.path(None, to(3, {0: 7, 1: 1, 4: 1})))
    assert client.is_single_signer


# ---- What it keeps ----


@pytest.mark.parametrize("epoch", range(8))
def test_what_is_kept_is_taken_up_as_it_was(epoch: int) -> None:
    client = client_at(epoch)
    other = client_at(None)
    assert other.resume(client.anchor_file) == client.header
    assert state(other) == state(client)


def test_what_is_kept_has_the_sets_that_are_known_and_no_recovery() -> None:
    client = client_at(2)
    assert decode_anchor(client.anchor_file)[1].sets == (members_of(A),)
    client.update(MAIN[2].signed, MAIN.path(2, to(2, B, D)))
    signed, hop = decode_anchor(client.anchor_file)
    assert signed == MAIN[2].signed
    assert hop == Hop((members_of(A), members_of(B)), None, MAIN[2].hop().hashes)


def test_a_recovery_in_it_says_nothing() -> None:
    client = client_at(None)
    hop = Hop((members_of(B),), hops.ORDER, MAIN[3].hop().hashes)
    client.resume(encode_anchor(MAIN[3].signed, hop))
    assert decode_anchor(client.anchor_file)[1] == hop._replace(recovery=None)


# ---- A network that follows ----


def test_nothing_of_the_old_network_is_left_but_the_time() -> None:
    client = TrustedLists(MAIN.genesis, NOW_MS)
    client.update(keeping.LAST[4].signed, keeping.LAST.along(4))
    client.load_full(keeping.LAST[4].full)
    assert client.successor is not None
    client.check_successor(keeping.FOLLOWING)
    client.succeed(keeping.FOLLOWING)
    assert state(client) == state(TrustedLists(keeping.FOLLOWING, NOW_MS))
    assert client.list_epoch is None
    assert client.successor is None


def test_the_last_header_leads_on_however_old_it_is() -> None:
    """Who was away when the network moved still learns where to."""
    last = keeping.LAST[4]
    client = TrustedLists(MAIN.genesis, last.header.valid_until_ms + 1)
    client.update(last.signed, keeping.LAST.along(4))
    assert client.successor == last.header.successor
    refused("list_expired", lambda: client.load_full(last.full))
    client.succeed(keeping.FOLLOWING)
    # any other header that has expired is not taken
    late = TrustedLists(MAIN.genesis, MAIN[4].header.valid_until_ms + 1)
    refused("list_expired", lambda: late.update(MAIN[4].signed, MAIN.along(4)))


def test_the_history_is_learned_of_a_header_that_has_expired() -> None:
    client = client_at(None)
    client.update(MAIN[1].signed)
    client.start_update(MAIN[1].header.valid_until_ms + 1)
    refused(
        "bad_history",
        lambda: client.learn_history(encode_path(Path(hop=Hop(hashes=(digest("x"),))))),
    )
    refused(
        "bad_path",
        lambda: client.learn_history(encode_path(Path(hop=Hop(hashes=2 * (bytes(32),))))),
    )
    assert not client.knows_history
    client.learn_history(encode_path(Path(hop=Hop(hashes=MAIN[1].hop().hashes))))
    assert client.knows_history


# ---- Bundles ----


def bundle(epoch: int, line: Line = MAIN) -> Bundle:
    """All of an epoch in one file."""
    return Bundle(line.along(epoch), line[epoch].signed, line[epoch].full)


@pytest.mark.parametrize("epoch", [0, 2, 3, 7])
def test_a_bundle_is_all_that_a_client_needs(epoch: int) -> None:
    client = client_at(None)
    assert client.load_bundle(encode_bundle(bundle(epoch))) == MAIN[epoch].header
    assert client.entries == MAIN[epoch].entries
    assert state(client)[:4] == state(client_at(epoch))[:4]


FULL: Final = bundle(7)
BUNDLES: Final[dict[str, tuple[str, Bundle]]] = {
    "no path": ("wrong_set", FULL._replace(path=b"")),
    "the path to another header": ("wrong_set", FULL._replace(path=MAIN.along(6))),
    "a path in another format": ("unknown_format", FULL._replace(path=b"\2")),
    "a path that is cut off": ("bad_path", FULL._replace(path=FULL.path[:-1])),
    "a header of another line": (
        "bad_history",
        FULL._replace(signed_header=MAIN.branch(7, 8, history_root=bytes(32))[7].signed),
    ),
    "a header that too few signed": (
        "not_final",
        FULL._replace(signed_header=MAIN.branch(7, 8, signers=[6, 7])[7].signed),
    ),
    "a header of no such set": (
        "bad_header",
        FULL._replace(signed_header=MAIN[7].signed[:342] + b"\xff" * 4 + bytes(64 * 32)),
    ),
}


@pytest.mark.parametrize(("code", "parts"), BUNDLES.values(), ids=BUNDLES.keys())
def test_a_bundle_is_refused_and_changes_nothing(code: str, parts: Bundle) -> None:
    client = client_at(None)
    refused(code, lambda: client.load_bundle(encode_bundle(parts)))
    assert client.is_empty


LISTS: Final[dict[str, tuple[str, bytes]]] = {
    "none": ("bad_list", b""),
    "in another format": ("unknown_format", b"\2" + FULL.full[1:]),
    "cut off": ("bad_list", FULL.full[:-1]),
    "a byte left over": ("bad_list", FULL.full + b"\0"),
    "another one": ("bad_list", encode_full(MAIN[7].columns[::-1])),
    "much more": ("too_large", FULL.full + bytes(1000)),
}


@pytest.mark.parametrize(("code", "full"), LISTS.values(), ids=LISTS.keys())
def test_the_header_of_a_bundle_is_held_whose_list_is_refused(code: str, full: bytes) -> None:
    client = client_at(None)
    refused(code, lambda: client.load_bundle(encode_bundle(FULL._replace(full=full))))
    assert client.header == MAIN[7].header
    assert client.needs_list


def test_a_bundle_is_for_a_client_without_a_header() -> None:
    client = client_at(4)
    before = state(client)
    refused("bad_path", lambda: client.load_bundle(encode_bundle(FULL)))
    assert state(client) == before


# ---- Slices ----


def test_a_slice_may_come_with_a_path() -> None:
    (leaf,) = make_swarm_leaves(MAIN[7].entries)
    data = encode_slice(Slice(MAIN[7].signed, 0, leaf, ()))
    client = client_at(None)
    refused("wrong_set", lambda: client.read_slice(data, bytes(32)))
    refused("bad_path", lambda: client.read_slice(data, bytes(32), b"\1"))
    assert client.read_slice(data, bytes(32), MAIN.along(7)) == MAIN[7].entries
    assert client.knows_history


# ---- The least that has to be known ----


def test_a_set_of_nobody_speaks_for_nothing() -> None:
    """Without its members a trusted set has no two thirds that could have signed."""
    anchor = start_anchor(read_network(MAIN.genesis))._replace(next_set_hash=bytes(32))
    signed = decode_signed_header(MAIN[3].signed)
    known = {MAIN[3].header.set_hash: members_of(B)}
    network = read_network(MAIN.genesis)
    refused("wrong_set", lambda: check_set(network, anchor, Hop(), known, signed))
