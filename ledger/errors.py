"""Everything that can go wrong, as types and as codes.

    WaypostError
    ├── Refusal            data from outside breaks a rule: expected, coded, changes nothing
    └── Fault              something this process relies on is broken: it stops and says where
        ├── CorruptStore   a record is damaged or missing
        ├── StoreInUse     another process has the database open
        ├── StoreMissing   there is no database
        └── Diverged       executing a block gives another result than its producer signed
    Misuse                 a caller broke a contract: a bug, never bad data

`REFUSALS` is the whole list of codes. A code's name and number never change and are never used
again; its text may become clearer. Only the number can reach a result, never a text.
"""

from typing import Final, NamedTuple


class RefusalCode(NamedTuple):
    """One row of `REFUSALS`."""

    number: int
    """Stable number, 1 to 65535; what an engine records as a transaction's result."""
    text: str
    """What is wrong and what to do, with `{names}` for the values of the refusal."""


REFUSALS: Final[dict[str, RefusalCode]] = {
    # the bytes
    "not_canonical": RefusalCode(1, "these bytes are not a canonical {what}: encode it again"),
    "too_large": RefusalCode(2, "{size} bytes are more than the {limit} that are allowed"),
    "unknown_kind": RefusalCode(3, "there is no transaction kind {kind}: is this version current?"),
    "bad_signature": RefusalCode(
        4, "a signature does not fit: was it made with the right key, for this network?"
    ),
    "bad_key": RefusalCode(5, "{field} is not a usable Ed25519 key"),
    # the envelope
    "expired": RefusalCode(10, "it was valid up to height {expiry}, this is {height}: sign anew"),
    "expiry_too_far": RefusalCode(11, "expiry {expiry} is past {limit}: choose a nearer height"),
    "nonce_used": RefusalCode(12, "nonce {nonce} was used already, the next is {expected}"),
    "nonce_skipped": RefusalCode(13, "nonce {nonce} comes too early, the next is {expected}"),
    "fee_too_low": RefusalCode(14, "the fee {fee} is below the minimum of {minimum}"),
    "balance_too_low": RefusalCode(15, "it takes {needed} atomic units, the account has {balance}"),
    "amount_zero": RefusalCode(16, "the amount is zero"),
    # nodes and stake
    "wrong_operator": RefusalCode(30, "this registration names another operator account"),
    "wrong_life": RefusalCode(31, "life {life} of this node was meant, {expected} is next or now"),
    "registration_expired": RefusalCode(32, "the registration expired at {expiry_ms}: make a new"),
    "registration_too_long": RefusalCode(33, "the registration may expire at {limit_ms} at most"),
    "node_exists": RefusalCode(34, "the node is registered already"),
    "unknown_node": RefusalCode(35, "no node is registered under this key"),
    "key_in_use": RefusalCode(36, "the {role} key is bound to another role or node for ever"),
    "keys_not_distinct": RefusalCode(37, "each role needs a key of its own"),
    "fee_out_of_range": RefusalCode(38, "an operator's fee is at most {limit} parts of 10,000"),
    "stake_too_small": RefusalCode(39, "at least {minimum} atomic units have to be staked here"),
    "stake_too_large": RefusalCode(40, "only {open} atomic units are still open"),
    "too_many_places": RefusalCode(41, "a node has at most {limit} contributors"),
    "bad_reservation": RefusalCode(42, "a reserved place is {why}"),
    "reserved_amount": RefusalCode(43, "the reserved place takes exactly {amount} atomic units"),
    "already_contributes": RefusalCode(44, "this account has a stake in the node already"),
    "not_awaiting": RefusalCode(45, "the node is not waiting for stake any more"),
    "no_contribution": RefusalCode(46, "this account has no stake in the node"),
    "operator_stays": RefusalCode(47, "the operator cannot withdraw: he leaves with the node"),
    "attestor_keys": RefusalCode(48, "a list key comes with a chain tip and its proof: {why}"),
    # contact data
    "bad_address": RefusalCode(60, "{address} is not an address that others can reach: {why}"),
    "bad_port": RefusalCode(61, "port {port} is out of range"),
    "bad_version": RefusalCode(62, "the version 0.0.0 says nothing: send the real one"),
    "contact_sequence": RefusalCode(63, "sequence {sequence} is not above {last}"),
    "contact_too_often": RefusalCode(64, "a node changes its contact {limit} times an epoch"),
    # attestations
    "attest_closed": RefusalCode(80, "header {epoch} takes no attestations now"),
    "unknown_attestor": RefusalCode(81, "the attestor set has no index {index}"),
    "attested_already": RefusalCode(82, "attestor {index} attested header {epoch} already"),
    "bad_reveal": RefusalCode(83, "the reveal is not the preimage of the last accepted value"),
    # blocks
    "block_height": RefusalCode(100, "block {height} does not follow height {tip}"),
    "block_time": RefusalCode(101, "block time {time_ms} is not after {tip_ms}"),
    "block_too_large": RefusalCode(102, "the block is over its limit of {limit} {unit}"),
    "block_link": RefusalCode(103, "block {height} does not extend the chain that is held"),
    "block_seal": RefusalCode(104, "block {height} is not signed by the network's producer"),
    "block_inputs": RefusalCode(106, "block {height} does not carry what its header names"),
    "block_transaction": RefusalCode(105, "transaction {index} of block {height}: {why}"),
    # genesis and snapshots
    "bad_parameter": RefusalCode(120, "parameter {name} = {value} is outside {low} to {high}"),
    "bad_relation": RefusalCode(121, "the parameters do not fit together: {why}"),
    "bad_genesis": RefusalCode(122, "the genesis file is refused: {why}"),
    "bad_snapshot": RefusalCode(123, "the snapshot is refused: {why}"),
    # lists and what proves them
    "bad_header": RefusalCode(140, "the header is refused: {why}"),
    "bad_list": RefusalCode(141, "the list is refused: {why}"),
    "unknown_format": RefusalCode(142, "format {version} is not known: is this version current?"),
    "not_final": RefusalCode(143, "{weight} of {total} signed, more than two thirds must"),
    "wrong_set": RefusalCode(144, "the header is signed by another set of attestors"),
    "from_the_future": RefusalCode(145, "the header is from the future by {ahead_ms} ms"),
    "list_expired": RefusalCode(146, "the list was valid until {valid_until_ms}"),
    "roll_back": RefusalCode(147, "epoch {epoch} is older than the epoch {newest} held"),
    "fork": RefusalCode(148, "two final headers for epoch {epoch}: stop and compare fingerprints"),
    "list_missing": RefusalCode(149, "no list is verified yet: fetch one first"),
}


class WaypostError(Exception):
    """Root of what this project raises on purpose."""


class Refusal(WaypostError):
    """Data from outside breaks a rule; nothing was changed.

    `code` is a name in `REFUSALS`, `values` are the typed facts that its text shows.
    """

    def __init__(self, code: str, **values: int | str) -> None:
        row = REFUSALS[code]
        super().__init__(f"{code}: {row.text.format(**values)}")
        self.code = code
        self.number = row.number
        self.values = values

    @property
    def text(self) -> str:
        """The sentence for people, without the code."""
        return REFUSALS[self.code].text.format(**self.values)


class Fault(WaypostError):
    """What this process relies on is broken. It must stop, not go on with something else."""


class CorruptStore(Fault):
    """The store at `where` holds damaged records; `why` says which and what to do."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"the store {where} is damaged: {why}")
        self.where = where
        self.why = why


class StoreInUse(Fault):
    """Another process has the database open."""

    def __init__(self, where: str) -> None:
        super().__init__(f"the store {where} is in use by another process")
        self.where = where


class StoreMissing(Fault):
    """There is no database where one was expected."""

    def __init__(self, where: str) -> None:
        super().__init__(f"there is no store at {where}")
        self.where = where


class Diverged(Fault):
    """Executing block `height` gives another result than the block itself states."""

    def __init__(self, height: int, why: str) -> None:
        super().__init__(f"block {height} diverges: {why}")
        self.height = height
        self.why = why


class Misuse(Exception):
    """A caller broke a contract of this package. Never raised because of data from outside."""
