"""Scripts about genesis files: their encoding, their parameters, and who is in them."""

from typing import Any, Final

from msgspec.structs import replace
from nacl import bindings

from ledger.codec import encode
from ledger.messages.contact import Contact, Version
from ledger.messages.genesis import (
    GENESIS,
    MAX_GENESIS_BYTES,
    REGISTRY,
    GenesisAccount,
    GenesisAttestor,
    GenesisNode,
)
from ledger.params import PARAMETERS, preset
from tests.flip import flip
from tests.registry.client.factory import digest, make_genesis, seat
from tests.registry.client.verify.script import Case, Cases, Data, Repeat, start
from tests.registry.client.verify.signatures import ORDER_8, P, little

FILE: Final = make_genesis((1, 1, 1, 1))
GENESIS_OF_FOUR: Final = GENESIS.decode(FILE)


def given(data: Data, code: str = "") -> Case:
    """A client starts from a file."""
    return [start(data).but(code)]


def changed(code: str = "bad_genesis", **fields: Any) -> Case:
    """A client starts from a file with other fields."""
    return given(encode(replace(GENESIS_OF_FOUR, **fields)), code)


CONTACT: Final = Contact(bytes(4), b"", 1, 2, Version(1, 2, 3), Version(4, 5, 6))
NODE: Final = GenesisNode(
    digest("node"), digest("operator"), digest("duty"), CONTACT, 2**64 - 1, 0
)  # fmt: skip
FULL_FILE: Final = encode(
    replace(
        GENESIS_OF_FOUR,
        name=b"a-name-of-forty-bytes-which-are-the-most",
        pool=2**63 - 1,
        recovery=tuple(sorted(seat(n).public for n in range(4, 9))),
        accounts=tuple(GenesisAccount(digest(f"account {n}"), 2**n) for n in range(17)),
        nodes=(NODE,) * 2,
    )
)
"""A file with something of everything."""

CUT_OFF: Final[Cases] = {
    "whole": given(FILE),
    "whole, with something of everything": given(FULL_FILE),
    **{
        f"after {size} bytes": given(FILE[:size], "not_canonical")
        for size in (0, 1, 2, 3, 9, 20, 50, 80, 90, 100, 200, 300, 400, len(FILE) - 1)
    },
    "the longer one by a byte": given(FULL_FILE[:-1], "not_canonical"),
}

EXTENDED: Final[Cases] = {
    "not at all": given(FILE),
    "by a zero": given(FILE + b"\0", "not_canonical"),
    "by a byte": given(FILE + b"\xc1", "not_canonical"),
    "by itself": given(FILE * 2, "not_canonical"),
    "by a field": given(b"\x9f" + FILE[1:] + b"\0", "not_canonical"),
    "the longer one by a byte": given(FULL_FILE + b"\0", "not_canonical"),
    "to the most bytes that there may be": given(
        Repeat(FILE, b"\0", MAX_GENESIS_BYTES - len(FILE)), "not_canonical"
    ),
    "by one more": given(Repeat(FILE, b"\0", MAX_GENESIS_BYTES - len(FILE) + 1), "too_large"),
}

# ---- Encodings ----

FIELDS: Final = {
    name: encode(getattr(GENESIS_OF_FOUR, name)) for name in GENESIS_OF_FOUR.__struct_fields__
}


def joined(head: bytes = b"\x9e", **fields: bytes) -> bytes:
    """The file with fields whose bytes are others."""
    return head + b"".join((FIELDS | fields).values())


def encoded(**fields: bytes) -> Case:
    """A client refuses a file with fields whose bytes are others."""
    return given(joined(**fields), "not_canonical")


assert joined() == FILE
SEED: Final = FIELDS["seed"]
NONE: Final = b"\xc4\0"
ATTESTORS: Final = FIELDS["attestors"]
PARAMS: Final = FIELDS["params"]
ONE_ACCOUNT: Final = encode((GenesisAccount(digest("account"), 5),))

FORMS: Final[Cases] = {
    "as short as can be": given(FILE),
    "an integer in two bytes": encoded(version=b"\xcc\1"),
    "an integer in three bytes": encoded(version=b"\xcd\0\1"),
    "an integer in five bytes": encoded(version=b"\xce\0\0\0\1"),
    "an integer in nine bytes": encoded(version=b"\xcf" + bytes(7) + b"\1"),
    "a signed integer": encoded(version=b"\xd0\1"),
    "a negative integer": encoded(version=b"\xff"),
    "a float": encoded(version=b"\xca\x3f\x80\0\0"),
    "a double": encoded(version=b"\xcb\x3f\xf0" + bytes(6)),
    "true": encoded(version=b"\xc3"),
    "nil": encoded(version=b"\xc0"),
    "what is nothing": encoded(version=b"\xc1"),
    "bytes for an integer": encoded(version=b"\xc4\1\1"),
    "an integer for bytes": encoded(name=b"\1"),
    "text": encoded(name=b"\xa4test"),
    "long text": encoded(name=b"\xd9\4test"),
    "bytes with a longer head": encoded(name=b"\xc5\0\4test"),
    "bytes with the longest head": encoded(name=b"\xc6\0\0\0\4test"),
    "an extension": encoded(version=b"\xd4\0\1"),
    "a time": encoded(start_ms=b"\xd6\xff" + bytes(4)),
    "an array with a longer head": given(joined(b"\xdc\0\x0e"), "not_canonical"),
    "an array with the longest head": given(joined(b"\xdd\0\0\0\x0e"), "not_canonical"),
    "an inner array with a longer head": encoded(attestors=b"\xdc\0\4" + ATTESTORS[1:]),
    "an inner array with the longest head": encoded(params=b"\xdd\0\0" + PARAMS[1:]),
    "a map": given(joined(b"\x8e"), "not_canonical"),
    "a map for an array": encoded(accounts=b"\x80"),
    "bytes for an array": encoded(accounts=b"\xc4\0"),
    "an array for bytes": encoded(producer=b"\x90"),
    "an array of four thousand million": encoded(params=b"\xdd\xff\xff\xff\xff" + PARAMS[3:]),
    "four thousand million bytes": encoded(producer=b"\xc6\xff\xff\xff\xff"),
    "nested without end": given(b"\x91" * 5000, "not_canonical"),
}

WIDTHS: Final[Cases] = {
    "as the tables say": given(FULL_FILE),
    "a field less": given(joined(b"\x9d")[: -len(FIELDS["predecessor"])], "not_canonical"),
    "a field for another": given(
        joined(version=FIELDS["name"], name=FIELDS["version"]), "not_canonical"
    ),
    "a version of nine bits": encoded(version=b"\xcd\1\0"),
    "no name": encoded(name=b"\xc4\0"),
    "a name of 41 bytes": encoded(name=encode(b"n" * 41)),
    "a time of 64 bits": encoded(start_ms=encode(2**63)),
    "a producer of 33 bytes": encoded(producer=encode(bytes(33))),
    "a seed of 31 bytes": encoded(seed=encode(bytes(31))),
    "a seed of 33 bytes": encoded(seed=encode(bytes(33))),
    "a parameter of 64 bits": encoded(params=PARAMS[:-5] + encode(2**63)),
    "no attestor": encoded(attestors=b"\x90"),
    "26 attestors": encoded(attestors=b"\xdc\0\x1a" + ATTESTORS[1:75] * 26),
    "an attestor of two fields": encoded(attestors=b"\x91\x92" + SEED + b"\1"),
    "an attestor of four fields": encoded(
        attestors=b"\x91\x94" + SEED + b"\1" + SEED + NONE
    ),
    "an attestor of six fields": encoded(
        attestors=b"\x91\x96" + SEED + b"\1" + SEED + NONE * 3
    ),
    "a weight of 33 bits": encoded(
        attestors=b"\x91\x95" + SEED + encode(2**32) + SEED + NONE * 2
    ),
    "a list key of 31 bytes": encoded(
        attestors=b"\x91\x95" + encode(bytes(31)) + b"\1" + SEED + NONE * 2
    ),
    "a consensus key of 33 bytes": encoded(
        attestors=b"\x91\x95" + SEED + b"\1" + SEED + encode(bytes(33)) + NONE
    ),
    "a node behind a seat of 33 bytes": encoded(
        attestors=b"\x91\x95" + SEED + b"\1" + SEED + NONE + encode(bytes(33))
    ),
    "a predecessor of 33 bytes": encoded(predecessor=encode(bytes(33))),
    "consensus keys and a predecessor": changed(
        "", predecessor=bytes(32),
        attestors=tuple(
            replace(row, consensus_key=digest("consensus"), node=digest("node"))
            for row in GENESIS_OF_FOUR.attestors
        ),
    ),
    "26 recovery keys": encoded(recovery=b"\xdc\0\x1a" + SEED * 26),
    "a recovery key of 33 bytes": encoded(recovery=b"\x91" + encode(bytes(33))),
    "an account of 31 bytes": encoded(accounts=b"\x91\x92" + encode(bytes(31)) + b"\1"),
    "a balance of 64 bits": encoded(accounts=ONE_ACCOUNT[:-1] + encode(2**63)),
    "a node with a swarm of nothing": encoded(
        nodes=encode((NODE,)).replace(encode(2**64 - 1), b"\xc4\0")
    ),
    "a node with an address of five bytes": encoded(
        nodes=encode((replace(NODE, contact=replace(CONTACT, ipv4=bytes(5))),))
    ),
    "a node with a port of 17 bits": encoded(
        nodes=encode((replace(NODE, contact=replace(CONTACT, storage_port=2**16)),))
    ),
    "a node that leaves past the end of time": encoded(
        nodes=encode((replace(NODE, exit_ms=2**63),))
    ),
    "an address that no node may have": given(
        joined(nodes=encode((replace(NODE, contact=replace(CONTACT, ipv6=bytes(3))),)))
    ),
}  # fmt: skip

# ---- Parameters ----

VALUES: Final = preset("minimal")


def params(code: str = "bad_relation", **values: int) -> Case:
    """A client starts from a file with other parameters."""
    return changed(code, params=tuple(VALUES._replace(**values)))


NUMBER: Final[Cases] = {
    "as many as there are": changed(""),
    **{
        f"{count}": changed(params=tuple(VALUES)[:count] + (0,) * (count - len(VALUES)))
        for count in (0, 1, 15, 16, len(VALUES) - 1, len(VALUES) + 1, 2 * len(VALUES))
    },
    "one more, and one out of range": changed(params=(0, *VALUES)),
}

BELOW: Final[Cases] = {
    "nothing is": params("", minimum_fee=0, set_change_ms=0, payable_ms=0, grace_ms=0),
    **{
        row.name: params("bad_parameter", **{row.name: row.low - 1})
        for row in PARAMETERS
        if row.low
    },
}

ABOVE: Final[Cases] = {
    "nothing is": params(
        "",
        **{
            row.name: row.high
            for row in PARAMETERS
            if row.name in ("minimum_fee", "staking_requirement", "bounty_cap", "reward_rate")
        },
    ),
    **{
        row.name: params("bad_parameter", **{row.name: row.high + 1})
        for row in PARAMETERS
        if row.high < 2**63 - 1
    },
    "the first of several": params("bad_parameter", block_ms=0, attest_blocks=0),
}

V: Final = VALUES

RELATIONS: Final[Cases] = {
    "each just holds": params(
        "",
        block_ms=V.epoch_ms,
        attest_blocks=1,
        max_block_bytes=V.max_transaction_bytes,
        fresh_ms=V.epoch_ms,
        valid_ms=V.epoch_ms,
        evidence_ms=V.trust_ms + V.report_margin_ms,
        unbonding_ms=V.trust_ms + V.report_margin_ms + 1,
        lock_ms=V.trust_ms + V.report_margin_ms + 1,
        quorum_testers=5,
        quorum_threshold=5,
        credit_start_ms=V.credit_most_ms,
    ),
    "a quorum of just more than half": params("", quorum_testers=5, quorum_threshold=3),
    "a block is longer than an epoch": params(block_ms=V.epoch_ms + 1, attest_blocks=1),
    "attestations go on longer than an epoch": params(attest_blocks=V.epoch_ms // V.block_ms + 1),
    "a transaction is larger than a block": params(max_block_bytes=V.max_transaction_bytes - 1),
    "a list is fresh for less than an epoch": params(fresh_ms=V.epoch_ms - 1),
    "a list is valid for less than it is fresh": params(valid_ms=V.fresh_ms - 1),
    "a list is valid for longer than it is trusted": params(valid_ms=V.trust_ms + 1),
    "a forger cannot be reported": params(evidence_ms=V.trust_ms + V.report_margin_ms - 1),
    "stake is free as soon as an offence is too old": params(unbonding_ms=V.evidence_ms),
    "who is removed is paid sooner": params(lock_ms=V.unbonding_ms - 1),
    "a quorum cannot reach a verdict": params(quorum_threshold=V.quorum_testers + 1),
    "a quorum can reach two verdicts": params(quorum_testers=4, quorum_threshold=2),
    "a new node has too much credit": params(credit_start_ms=V.credit_most_ms + 1),
    "the range comes first": params("bad_parameter", block_ms=V.epoch_ms + 1, set_change_ms=2**60),
}

# ---- Who is in it ----

RULES: Final[Cases] = {
    "version 1, policy 1": changed(""),
    "policy 2": changed("", policy=REGISTRY),
    **{f"version {version}": changed(version=version) for version in (0, 2, 255)},
    **{f"policy {policy}": changed(policy=policy) for policy in (0, 3, 128, 255)},
    "the parameters come first": changed(
        "bad_parameter", version=2, params=tuple(VALUES._replace(block_ms=0))
    ),
    "what only a ledger needs is not looked at": changed(
        "", name=b"A name!", engine=9, producer=b"no key", pool=2**63 - 1,
        accounts=(GenesisAccount(bytes(32), 0),) * 2,
    ),
}  # fmt: skip


def seats(*keys: bytes, weight: int = 1) -> tuple[GenesisAttestor, ...]:
    """Attestors with these keys."""
    return tuple(GenesisAttestor(key, weight, bytes(32)) for key in keys)


A, B, C = (seat(n).public for n in range(3))

ORDER: Final[Cases] = {
    "ascending": changed("", attestors=seats(A, B, C)),
    "25 of them": changed("", attestors=seats(*(seat(n).public for n in range(25)))),
    "the first two swapped": changed(attestors=seats(B, A, C)),
    "the last two swapped": changed(attestors=seats(A, C, B)),
    "descending": changed(attestors=seats(C, B, A)),
    "one twice": changed(attestors=seats(A, A, B)),
    "another twice": changed(attestors=seats(A, B, B)),
    "one twice, with another weight": changed(
        attestors=(*seats(A), *seats(A, weight=2), *seats(B))
    ),
}  # fmt: skip

MIXED: Final = bindings.crypto_core_ed25519_add(A, ORDER_8)
KEYS_OF_NOBODY: Final = {
    "of order 1": little(1),
    "of order 2": little(P - 1),
    "of order 4": little(0),
    "of order 4, the other": little(1 << 255),
    "of order 8": ORDER_8,
    "of order 8, the other": little(P - int.from_bytes(ORDER_8, "little")),
    "of order 1 with a sign": little(1 | 1 << 255),
    "of order 2 with a sign": little(P - 1 | 1 << 255),
    "of order 1, not reduced": little(P + 1),
    "of order 4, not reduced": little(P),
    "not reduced": little(P + 3),
    "the largest that is not reduced": b"\xff" * 32,
    "not on the curve": little(2),
    "not on the curve either": b"\x7f" * 32,
    "of mixed order": MIXED,
}

KEYS: Final[Cases] = {
    "usable": changed("", attestors=seats(A)),
    "usable, with a sign": changed("", attestors=seats(flip(A, 31, 7))),
    **{name: changed(attestors=seats(key)) for name, key in KEYS_OF_NOBODY.items()},
    "the second of two": changed(attestors=seats(*sorted((A, ORDER_8)))),
}

WEIGHTS: Final[Cases] = {
    "at least 1": given(make_genesis((1, 2**32 - 1))),
    "the first has none": given(make_genesis((0, 1, 1)), "bad_genesis"),
    "the second has none": given(make_genesis((1, 0, 1)), "bad_genesis"),
    "the last has none": given(make_genesis((1, 1, 0)), "bad_genesis"),
    "the only one has none": given(make_genesis((0,)), "bad_genesis"),
    "nobody has any": given(make_genesis((0,) * 25), "bad_genesis"),
}


def recovery(*keys: bytes, code: str = "bad_genesis") -> Case:
    """A client starts from a file with recovery keys."""
    return changed(code, recovery=keys)


RECOVERY: Final[Cases] = {
    "none": recovery(code=""),
    "ascending": recovery(A, B, C, code=""),
    "not ascending": recovery(B, A),
    "one twice": recovery(A, A),
    "descending": recovery(C, B, A),
    "of order 1": recovery(little(1)),
    "of order 8": recovery(ORDER_8),
    "not on the curve": recovery(little(2)),
    "not reduced": recovery(little(P + 3)),
    "of mixed order": recovery(MIXED),
}

CLASSES: Final[dict[str, Cases]] = {
    "genesis: cut off": CUT_OFF,
    "genesis: extended": EXTENDED,
    "genesis: encoding": FORMS,
    "genesis: fields": WIDTHS,
    "genesis: number of parameters": NUMBER,
    "genesis: parameters below their range": BELOW,
    "genesis: parameters above their range": ABOVE,
    "genesis: relations of parameters": RELATIONS,
    "genesis: version and policy": RULES,
    "genesis: order of attestors": ORDER,
    "genesis: keys of attestors": KEYS,
    "genesis: weights": WEIGHTS,
    "genesis: recovery keys": RECOVERY,
}
"""Every class of this page."""

NAMES: Final = {"genesis full": FULL_FILE}
"""Bytes that many cases share."""
