"""The checks of a client, in the order in which they are made.

Each stands in docs/spec/client.md or docs/spec/trust.md. They see bytes and a reference time, and
change nothing.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import Signed, is_public_key, sha256, signing_bytes, verify_all
from ledger.errors import Refusal
from ledger.merkle import History, leaf_hash
from ledger.messages import tags
from ledger.messages.genesis import (
    FIXED,
    GENESIS,
    GENESIS_VERSION,
    REGISTRY,
    Genesis,
    founders_of,
)
from ledger.messages.lists import (
    Attestor,
    ListHeader,
    SignedHeader,
    attestation,
    attestor_set_hash,
    decode_header,
    fingerprint_bits,
    is_final,
    weigh,
)
from ledger.messages.transactions import SetOrder
from ledger.params import MINUTE, Params, validate_params
from ledger.types import ZERO_HASH, Epoch, Hash, Key, TimeMs
from registry.formats.trust import Hop, Members, Recovery

MAX_AHEAD_MS: Final = 5 * MINUTE
"""How far the reference time may be behind that of the network."""


class Status(StrEnum):
    """How far a list can still be relied on."""

    FRESH = "fresh"
    DEGRADED = "degraded"
    """Past its fresh-until: newer lists are kept back, or the network does not make any."""
    EXPIRED = "expired"
    """Past its valid-until."""


class Network(NamedTuple):
    """What a client takes from the genesis file."""

    genesis_hash: Hash
    start_ms: TimeMs
    epoch_ms: int
    trust_ms: int | None
    """How long a header vouches for the next one; None without end."""
    founders: Members
    recovery: tuple[Key, ...]
    """Keys more than two thirds of which may replace the attestors, ascending."""


class Anchor(NamedTuple):
    """What the next header is held against: the newest verified one, or genesis."""

    epoch: Epoch
    time_ms: TimeMs
    next_set_hash: Hash
    set_hash: Hash
    """The set that signed the header."""
    sets: Mapping[Hash, Members]
    """The sets of these two whose members are known."""
    before: History | None
    """All headers before it; None if that is unknown."""
    header: bytes = b""
    """The header, encoded; none for genesis."""

    @property
    def history(self) -> History | None:
        """All headers up to this one."""
        if self.before is None or not self.header:
            return self.before
        return self.before.append(leaf_hash(self.header))


# ---- Genesis ----


def read_genesis(raw: bytes) -> tuple[Genesis, Params]:
    """Return a genesis file and its parameters, if a client can start from them.

    What only a ledger needs of it, such as the accounts, is not looked at.

    Refuses with `too_large`, `not_canonical`, `bad_genesis`, `bad_parameter`, `bad_relation`.
    """
    genesis = GENESIS.decode(raw)
    params = validate_params(genesis.params)
    keys = [seat.list_key for seat in genesis.attestors]
    recovery = list(genesis.recovery)
    rules = (
        (genesis.version == GENESIS_VERSION, f"its version is not {GENESIS_VERSION}"),
        (genesis.policy in (FIXED, REGISTRY), "its policy for attestors is unknown"),
        (keys == sorted(set(keys)), "its attestors are not in ascending order, once each"),
        (all(map(is_public_key, keys)), "a list key is not a usable key"),
        (all(seat.weight for seat in genesis.attestors), "an attestor has no weight"),
        (recovery == sorted(set(recovery)), "its recovery keys are not in ascending order"),
        (all(map(is_public_key, recovery)), "a recovery key is not a usable key"),
    )
    for holds, why in rules:
        if not holds:
            raise Refusal("bad_genesis", why=why)
    return genesis, params


def read_network(raw: bytes) -> Network:
    """Return what a client takes from a genesis file. Refuses like `read_genesis`."""
    genesis, params = read_genesis(raw)
    trust_ms = None if genesis.policy == FIXED else params.trust_ms
    return Network(
        sha256(raw),
        genesis.start_ms,
        params.epoch_ms,
        trust_ms,
        founders_of(genesis),
        genesis.recovery,
    )


def start_anchor(network: Network) -> Anchor:
    """Return the anchor of a client that has verified no header."""
    founders = attestor_set_hash(network.founders)
    sets = {founders: network.founders}
    return Anchor(0, network.start_ms, founders, founders, sets, History())


# ---- Whether a header may come at all ----


def check_order(header: ListHeader, anchor: Anchor) -> None:
    """Refuse with `roll_back` what is older than the newest verified header."""
    # An epoch older than the newest verified one is a roll-back.
    if header.epoch < anchor.epoch:
        raise Refusal("roll_back", epoch=header.epoch, newest=anchor.epoch)


def check_succession(anchor: Anchor, header: ListHeader) -> None:
    """Refuse with `succeeded` whatever comes after the last header of a network."""
    # The last header names the network that goes on.
    successor = decode_header(anchor.header).successor if anchor.header else ZERO_HASH
    if successor != ZERO_HASH and header.epoch > anchor.epoch:
        raise Refusal("succeeded", successor=successor.hex())


# ---- One hop ----


def check_hop(
    network: Network, anchor: Anchor, hop: Hop, signed: SignedHeader, now_ms: int
) -> Anchor:
    """Check the header at the end of a hop, and return it as the anchor of the next one.

    Refuses with `succeeded`, `wrong_set`, `bad_path`, `bad_signature`, `unknown_attestor`,
    `not_final`, `fork`, `bad_history`, `from_the_future`.
    """
    header = decode_header(signed.header)
    check_succession(anchor, header)
    known = dict(anchor.sets) | {attestor_set_hash(members): members for members in hop.sets}
    members = check_set(network, anchor, hop, known, signed)
    check_signatures(network.genesis_hash, signed, members)
    # Before all that depends on time: whoever signed two headers is caught at any time.
    if anchor.header and is_fork(anchor.header, signed.header):
        raise Refusal("fork", epoch=header.epoch)
    before = check_history(anchor, hop, header, signed.header)
    check_time(header, anchor, network.epoch_ms, now_ms)
    wanted = (header.set_hash, header.next_set_hash)
    sets = {set_hash: known[set_hash] for set_hash in wanted if set_hash in known}
    next_set = header.next_set_hash
    time_ms = header.valid_after_ms
    return Anchor(header.epoch, time_ms, next_set, header.set_hash, sets, before, signed.header)


def check_set(
    network: Network,
    anchor: Anchor,
    hop: Hop,
    known: Mapping[Hash, Members],
    signed: SignedHeader,
) -> Members:
    """Return the set that a header names, if it is its turn.

    Refuses with `wrong_set`, and like `check_recovery`.
    """
    header = decode_header(signed.header)
    members = known.get(header.set_hash)
    if members is None:
        raise Refusal("wrong_set")
    # A header is signed by the set whose turn it is: the one that was named as the next, one that
    # the recovery keys ordered, or one for which more than two thirds of those who were named
    # signed too.
    if anchor.header and header.epoch == anchor.epoch:
        fits = header.set_hash == anchor.set_hash
    elif header.set_hash == anchor.next_set_hash:
        fits = True
    elif hop.recovery is not None:
        check_recovery(network, anchor, hop.recovery, header)
        fits = True
    else:
        fits = is_vouched(known.get(anchor.next_set_hash, ()), members, signed)
    if not fits:
        raise Refusal("wrong_set")
    return members


def check_recovery(
    network: Network, anchor: Anchor, recovery: Recovery, header: ListHeader
) -> None:
    """Check the order by which recovery keys replaced the attestors.

    Refuses with `bad_path`, `wrong_set` (too few of them signed) and `bad_signature`.
    """
    if not anchor.epoch < recovery.begin <= header.epoch:
        raise Refusal("bad_path", why="its recovery is of another time")
    keys = [key for key, _ in recovery.signers]
    if keys != sorted(set(keys)) or any(key not in network.recovery for key in keys):
        raise Refusal("bad_path", why="its recovery is not signed by recovery keys, ascending")
    if not is_final(len(keys), len(network.recovery)):
        raise Refusal("wrong_set")
    order = SetOrder(recovery.begin, header.set_hash, recovery.tips_hash)
    message = signing_bytes(tags.RECOVERY_ORDER, network.genesis_hash, encode(order))
    if not all(verify_all([Signed(key, message, sig) for key, sig in recovery.signers])):
        raise Refusal("bad_signature")


def is_vouched(trusted: Members, members: Members, signed: SignedHeader) -> bool:
    """Whether more than two thirds of a trusted set are among those who signed a header.

    `members` are the set that the header names; `trusted` has none if they are unknown.
    """
    weights = {member.list_key: member.weight for member in trusted}
    signers = {members[i].list_key for i, _ in signed.signatures if i < len(members)}
    weight = sum(weights[key] for key in weights if key in signers)
    return is_final(weight, sum(weights.values()))


def check_signatures(genesis_hash: Hash, signed: SignedHeader, members: Sequence[Attestor]) -> None:
    """Refuse with `unknown_attestor`, `not_final` or `bad_signature` what the set did not sign."""
    # More than two thirds of the weight signed, and every signature that is there holds.
    for index, _ in signed.signatures:
        if index >= len(members):
            raise Refusal("unknown_attestor", index=index)
    weight, total = weigh(signed, members)
    if not is_final(weight, total):
        raise Refusal("not_final", weight=weight, total=total)
    items = [
        attestation(genesis_hash, signed.header, members[index].list_key, signature)
        for index, signature in signed.signatures
    ]
    if not all(verify_all(items)):
        raise Refusal("bad_signature")


def is_fork(held: bytes, header: bytes) -> bool:
    """Whether two encoded headers, both final, contradict each other."""
    return held != header and decode_header(held).epoch == decode_header(header).epoch


def check_history(anchor: Anchor, hop: Hop, header: ListHeader, raw: bytes) -> History | None:
    """Return the history before a header, if it is that of the anchor and what came since.

    None if it is unknown. Refuses with `bad_path` and `bad_history`.
    """
    if raw == anchor.header:
        if not hop.hashes:
            return anchor.before
        grown = History().extend(header.epoch, hop.hashes)
    elif not anchor.header and not hop.hashes and header.epoch:
        return None
    else:
        if anchor.history is None:
            raise Refusal("bad_path", why="the history before the header that is held is unknown")
        grown = anchor.history.extend(header.epoch, hop.hashes)
    if grown is None:
        raise Refusal("bad_path", why=f"{len(hop.hashes)} hashes do not lead there")
    # A header continues the history in which the newest verified one stands.
    if grown.root() != header.history_root:
        raise Refusal("bad_history")
    return grown


def check_time(header: ListHeader, anchor: Anchor, epoch_ms: int, now_ms: int) -> None:
    """Refuse with `from_the_future` what cannot have been made yet, by its time or its number.

    Both together bound the epoch by the time that has passed since genesis, so that no header,
    whoever signed it, makes a client refuse all that come later.
    """
    # A header is at most 5 min ahead of the reference time.
    if header.valid_after_ms > now_ms + MAX_AHEAD_MS:
        raise Refusal("from_the_future", ahead_ms=header.valid_after_ms - now_ms)
    # Each epoch since the newest verified header lasted `epoch_ms` at least.
    earliest_ms = anchor.time_ms + (header.epoch - anchor.epoch) * epoch_ms
    if header.valid_after_ms < earliest_ms:
        raise Refusal("from_the_future", ahead_ms=earliest_ms - header.valid_after_ms)


# ---- The whole way, and the list ----


def check_trust(
    network: Network, anchor: Anchor, passed: Sequence[bytes], vouched: Sequence[bytes], now_ms: int
) -> None:
    """Refuse with `trust_expired` what only stake that may be gone by now speaks for.

    `passed` are the headers of a path from the anchor on, the one that it is for included;
    `vouched` are fingerprints, 16 bytes each, that somebody else answers for.
    """
    # Past the trust period somebody has to vouch for a header on the way.
    if network.trust_ms is None:
        return
    since_ms = anchor.time_ms
    for header in passed:
        if fingerprint_bits(network.genesis_hash, header) in vouched:
            since_ms = decode_header(header).valid_after_ms
    if now_ms > since_ms + network.trust_ms:
        age_ms = now_ms - since_ms
        raise Refusal("trust_expired", age_ms=age_ms, limit_ms=network.trust_ms)


def check_expiry(header: ListHeader, now_ms: int) -> None:
    """Refuse with `list_expired` what is past its valid-until."""
    # Past its valid-until a list is used only by those who asked for it.
    if compute_status(header, now_ms) is Status.EXPIRED:
        raise Refusal("list_expired", valid_until_ms=header.valid_until_ms)


def compute_status(header: ListHeader, now_ms: int) -> Status:
    """Return how far a header can be relied on at a reference time."""
    if now_ms > header.valid_until_ms:
        return Status.EXPIRED
    return Status.DEGRADED if now_ms > header.fresh_until_ms else Status.FRESH


def check_list(header: ListHeader, node_count: int, swarm_count: int) -> None:
    """Refuse with `bad_list` a list, its hash verified, that differs from its header in numbers."""
    # A list is the one that the header names: its hash, and as many nodes and swarms.
    if (node_count, swarm_count) != (header.node_count, header.swarm_count):
        raise Refusal("bad_list", why="it has not as many nodes and swarms as its header says")
