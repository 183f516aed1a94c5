"""Scripts about slices: one swarm with its proof."""

from itertools import pairwise
from typing import Final

from ledger.merkle import audit_path, leaf_hash, tree_root
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry, pack_entry, pack_swarm_leaf
from ledger.rules.swarms import nearest_swarm, position_of
from registry.formats.slice import MAX_PATH, MAX_SLICE_BYTES, Slice, encode_slice
from tests.flip import flip
from tests.registry.client.factory import (
    EPOCH,
    MadeList,
    digest,
    make_entries,
    make_swarm_leaves,
)
from tests.registry.client.verify.headers import (
    LATER_MS,
    OTHER_TEN,
    TEN,
    VALID_UNTIL,
    alone,
    of_four,
    with_bits,
    with_list,
)
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Data,
    Repeat,
    entries,
    read_slice,
    start,
    update,
)

MADE: Final = of_four(entries=make_entries(11, 5))
LEAVES: Final = make_swarm_leaves(MADE.entries)


def ids_of(made: MadeList) -> list[int]:
    """The swarms of a list."""
    return sorted({entry.swarm_id for entry in made.entries})


def slice_of(made: MadeList, place: int) -> Slice:
    """The slice of the swarm at a place."""
    leaves = make_swarm_leaves(made.entries)
    path = audit_path([leaf_hash(leaf) for leaf in leaves], place)
    return Slice(made.signed, place, leaves[place], tuple(path))


def account_at(position: int) -> bytes:
    """An account at a position on the ring."""
    return bytes(24) + position.to_bytes(8, "big")


def place_of(made: MadeList, account: bytes) -> int:
    """The place of the swarm that serves an account."""
    return ids_of(made).index(nearest_swarm(ids_of(made), position_of(account)))


IDS: Final = ids_of(MADE)
PLACE: Final = 1
ACCOUNT: Final = next(
    account
    for account in (digest(f"account {n}") for n in range(99))
    if place_of(MADE, account) == PLACE
)
"""Whom swarm 1 serves."""
GOOD: Final = slice_of(MADE, PLACE)
DATA: Final = encode_slice(GOOD)
LEAF_AT: Final = 1 + len(MADE.signed) + 2
LEAF_END: Final = LEAF_AT + len(GOOD.leaf)


def given(data: Data | Slice, code: str = "bad_list", account: bytes = ACCOUNT) -> Case:
    """A client that has nothing is given a slice."""
    raw = encode_slice(data) if isinstance(data, Slice) else data
    return [start(MADE.genesis), read_slice(raw, account).but(code)]


CUT_OFF: Final[Cases] = {
    "whole": given(DATA, ""),
    **{
        f"after {size} bytes": given(DATA[:size])
        for size in (0, 1, 200, 343, 346, 347, 400, LEAF_AT - 1, LEAF_AT, LEAF_AT + 25,
                     LEAF_AT + 26, LEAF_END - 1, LEAF_END, len(DATA) - 32, len(DATA) - 1)
    },
}  # fmt: skip

EXTENDED: Final[Cases] = {
    "not at all": given(DATA, ""),
    "by a byte": given(DATA + b"\0"),
    "by 31 bytes": given(DATA + bytes(31)),
    "by a hash": given(DATA + bytes(32)),
    "by its last hash": given(DATA + DATA[-32:]),
    "by as many hashes as there may be": given(DATA + bytes(32) * (MAX_PATH - len(GOOD.path))),
    "by one more": given(DATA + bytes(32) * (MAX_PATH - len(GOOD.path) + 1)),
    "to the most bytes that there may be": given(
        Repeat(DATA, b"\0", MAX_SLICE_BYTES - len(DATA))
    ),
    "by one more byte": given(Repeat(DATA, b"\0", MAX_SLICE_BYTES - len(DATA) + 1), "too_large"),
}  # fmt: skip

VERSIONS: Final[Cases] = {
    "1": given(DATA, ""),
    **{
        str(version): given(bytes([version]) + DATA[1:], "unknown_format")
        for version in (0, 2, 3, 128, 255)
    },
    "2, and nothing else": given(b"\2", "unknown_format"),
    "2, and too large": given(Repeat(b"\2", b"\0", MAX_SLICE_BYTES), "too_large"),
}

MIDDLE: Final = [(a + b) // 2 for a, b in pairwise(IDS)]

SWARMS: Final[Cases] = {
    **{
        f"of swarm {place}, for whom it serves": given(
            slice_of(MADE, place), "", account_at(IDS[place])
        )
        for place in range(5)
    },
    "for an account id with its prefix": given(DATA, "", b"\5" + ACCOUNT),
    "between two, a tie goes left": given(slice_of(MADE, 1), "", account_at(MIDDLE[1])),
    "one past the middle goes right": given(slice_of(MADE, 2), "", account_at(MIDDLE[1] + 1)),
    "one past the middle does not go left": given(
        slice_of(MADE, 1), "bad_list", account_at(MIDDLE[1] + 1)
    ),
    "the last serves who lies behind it": given(slice_of(MADE, 4), "", account_at(IDS[4] + 1)),
    "the first serves who is nearer round the end": given(
        slice_of(MADE, 0), "", account_at(2**64 - 1)
    ),
    **{
        f"of swarm {place}, for whom another serves": given(slice_of(MADE, place))
        for place in range(5)
        if place != PLACE
    },
    **{
        f"of swarm {place}, for whom the next serves": given(
            slice_of(MADE, place), "bad_list", account_at(IDS[(place + 1) % 5])
        )
        for place in range(5)
    },
}

# ---- What the root does not cover ----

MEMBERS: Final = [entry for entry in MADE.entries if entry.swarm_id == IDS[PLACE]]
BEFORE, OWN, AFTER = IDS[PLACE - 1], IDS[PLACE], IDS[(PLACE + 1) % 5]


def leaf(members: list[Entry], before: int = BEFORE, own: int = OWN, after: int = AFTER) -> bytes:
    """A leaf with other members or neighbours."""
    return pack_swarm_leaf(before, own, after, [pack_entry(entry) for entry in members])


PROOFS: Final[Cases] = {
    "as it is": given(DATA, ""),
    "a member less": given(GOOD._replace(leaf=leaf(MEMBERS[1:]))),
    "another member": given(GOOD._replace(leaf=leaf([MADE.entries[0], *MEMBERS[1:]]))),
    "no neighbours": given(GOOD._replace(leaf=leaf(MEMBERS, OWN, OWN, OWN))),
    "another neighbour before": given(GOOD._replace(leaf=leaf(MEMBERS, BEFORE + 1))),
    "another neighbour after": given(GOOD._replace(leaf=leaf(MEMBERS, BEFORE, OWN, AFTER + 1))),
    "another id": given(GOOD._replace(leaf=leaf(MEMBERS, BEFORE, OWN + 1))),
    "the place before": given(GOOD._replace(place=(PLACE - 1) % 5)),
    "the place after": given(GOOD._replace(place=(PLACE + 1) % 5)),
    "the sibling's place": given(GOOD._replace(place=PLACE ^ 1)),
    "a place beyond the tree": given(GOOD._replace(place=5)),
    "its place and as many as the tree has": given(GOOD._replace(place=PLACE + 8)),
    "the last place of a number": given(GOOD._replace(place=2**16 - 1)),
    "no path": given(GOOD._replace(path=())),
    "the first hash less": given(GOOD._replace(path=GOOD.path[1:])),
    "the last hash less": given(GOOD._replace(path=GOOD.path[:-1])),
    "the first hash twice": given(GOOD._replace(path=(GOOD.path[0], *GOOD.path))),
    "the hashes the wrong way round": given(GOOD._replace(path=GOOD.path[::-1])),
    "another hash": given(GOOD._replace(path=(bytes(32), *GOOD.path[1:]))),
    "a path that is longer than its place has": given(
        slice_of(MADE, 4)._replace(path=slice_of(MADE, 4).path * 2), "bad_list", account_at(IDS[4])
    ),
    "the path of an inner node": given(
        GOOD._replace(leaf=GOOD.path[0] * 2, path=GOOD.path[1:])
    ),
    "the swarm of another list": given(
        slice_of(OTHER_TEN, 0)._replace(signed_header=MADE.signed)
    ),
}  # fmt: skip

FLIPPED: Final[Cases] = {
    "none": given(DATA, ""),
    **{
        f"at byte {place} of {len(DATA)}": given(flip(DATA, place))
        for place in range(LEAF_AT - 2, len(DATA), 17)
    },
}

# ---- Leaves that were signed, whatever they are ----


def signed_leaf(raw: bytes, code: str = "bad_list", account: bytes = ACCOUNT) -> Case:
    """A client is given a leaf which is the only one of its tree."""
    made = alone(swarm_count=1, swarm_root=tree_root([leaf_hash(raw)]))
    data = encode_slice(Slice(made.signed, 0, raw, ()))
    return [start(made.genesis), read_slice(data, account).but(code)]


FIRST: Final = MEMBERS[0]
PACKED: Final = pack_entry(FIRST)
HEAD: Final = pack_swarm_leaf(OWN, OWN, OWN, [])


def with_flags(value: int) -> bytes:
    """A leaf whose only member has these flags."""
    return HEAD[:-2] + b"\0\1" + PACKED[:32] + bytes([value]) + PACKED[33:]


NOTHING: Final = Contact(bytes(4), b"", 0, 0, Version(0, 0, 0), Version(0, 0, 0))

LEAVES_SIGNED: Final[Cases] = {
    "a swarm alone": signed_leaf(leaf(MEMBERS, OWN, OWN, OWN), ""),
    "of one member": signed_leaf(leaf([FIRST], OWN, OWN, OWN), ""),
    "without a port": signed_leaf(
        leaf([FIRST._replace(contact=NOTHING)], OWN, OWN, OWN), ""
    ),
    "no member": signed_leaf(HEAD),
    "members that do not ascend": signed_leaf(leaf(MEMBERS[::-1], OWN, OWN, OWN)),
    "a member twice": signed_leaf(leaf([FIRST, FIRST], OWN, OWN, OWN)),
    "no swarm": signed_leaf(leaf([FIRST], 2**64 - 1, 2**64 - 1, 2**64 - 1)),
    "a member more than there is": signed_leaf(HEAD[:-2] + b"\0\2" + PACKED),
    "a member less than there is": signed_leaf(HEAD + PACKED),
    "all the members of a number": signed_leaf(HEAD[:-2] + b"\xff\xff" + PACKED),
    **{f"flags {value}": signed_leaf(with_flags(value)) for value in (0, 2, 4, 128, 255)},
    "a nearer neighbour": signed_leaf(
        leaf([FIRST], 10, 20, 10), "bad_list", account_at(11)
    ),
    "a farther neighbour": signed_leaf(leaf([FIRST], 10, 20, 10), "", account_at(16)),
    "a neighbour that is no swarm": signed_leaf(
        leaf([FIRST], 2**64 - 1, 20, 2**64 - 1), "bad_list", account_at(2**64 - 3)
    ),
}  # fmt: skip


# ---- Its header ----


def with_header(code: str, signed: bytes) -> Case:
    """A client is given the slice with another header."""
    return given(encode_slice(GOOD._replace(signed_header=signed)), code)


NEXT: Final = of_four(EPOCH + 1, after=[MADE], entries=MADE.entries)

HEADERS: Final[Cases] = {
    "after which it is held": [
        start(MADE.genesis), read_slice(DATA, ACCOUNT), entries().but("list_missing"),
    ],
    "by a path": [
        start(MADE.genesis, LATER_MS),
        read_slice(DATA, ACCOUNT, MADE.path()),
        read_slice(encode_slice(slice_of(NEXT, PLACE)), ACCOUNT, NEXT.path(EPOCH)),
    ],
    "of others": with_header("wrong_set", of_four(weights=(1, 2, 1, 1)).signed),
    "signed by too few": with_header("not_final", of_four(signers=(0, 1)).signed),
    "with a wrong signature": with_header(
        "bad_signature", of_four(signatures={0: bytes(64)}).signed
    ),
    "of a fifth attestor": with_header(
        "unknown_attestor", of_four(signatures={4: bytes(64)}).signed
    ),
    "of an attestor that there cannot be": with_header(
        "bad_header", with_bits(MADE.signed, 1 << 25 | 7)
    ),
    "of another format": with_header("unknown_format", of_four(format_version=2).signed),
    "that has expired": [
        start(MADE.genesis, VALID_UNTIL + 1), read_slice(DATA, ACCOUNT).but("list_expired"),
    ],
    "from before": [
        *with_list(), read_slice(encode_slice(slice_of(of_four(EPOCH - 1), 0)), ACCOUNT).but(
            "roll_back"
        ),
    ],
    "that forks": [*with_list(), read_slice(DATA, ACCOUNT).but("fork"), entries().but("fork")],
    "of another root, which is held nevertheless": [
        start(MADE.genesis),
        read_slice(encode_slice(GOOD._replace(signed_header=TEN.signed)), ACCOUNT).but("bad_list"),
        update(TEN.signed),
    ],
    "without a path that is needed": [
        *with_list(MADE, LATER_MS),
        read_slice(
            encode_slice(slice_of(skip := of_four(EPOCH + 1, entries=MADE.entries), PLACE)),
            ACCOUNT,
            skip.path(),
        ).but("bad_path"),
    ],
}  # fmt: skip

CLASSES: Final[dict[str, Cases]] = {
    "slice: cut off": CUT_OFF,
    "slice: extended": EXTENDED,
    "slice: version": VERSIONS,
    "slice: swarm and account": SWARMS,
    "slice: leaf, place and path": PROOFS,
    "slice: a bit is another one": FLIPPED,
    "slice: leaf that was signed": LEAVES_SIGNED,
    "slice: header": HEADERS,
}
"""Every class of this page."""

NAMES: Final = {
    "slice 10": DATA,
    "account of slices": ACCOUNT,
    **{f"slice 10 of swarm {place}": encode_slice(slice_of(MADE, place)) for place in range(5)},
    "slice of one": encode_slice(Slice(alone(swarm_count=1).signed, 0, leaf(MEMBERS), ())),
}
"""Bytes that many cases share."""
