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

from collections.abc import Mapping
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
    "too_large": RefusalCode(
        2, "{size} bytes are more than the {limit} that are allowed: make it shorter"
    ),
    "unknown_kind": RefusalCode(3, "there is no transaction kind {kind}: is this version current?"),
    "bad_signature": RefusalCode(
        4, "a signature does not fit: was it made with the right key, for this network?"
    ),
    "bad_key": RefusalCode(5, "{field} is not a usable Ed25519 key: is it copied right?"),
    # the envelope
    "expired": RefusalCode(10, "it was valid up to height {expiry}, this is {height}: sign anew"),
    "expiry_too_far": RefusalCode(11, "expiry {expiry} is past {limit}: choose a nearer height"),
    "nonce_used": RefusalCode(
        12, "nonce {nonce} was used already, the next is {expected}: sign anew"
    ),
    "nonce_skipped": RefusalCode(
        13, "nonce {nonce} comes too early, the next is {expected}: send that one first"
    ),
    "fee_too_low": RefusalCode(
        14, "the fee {fee} is below the minimum of {minimum}: pay that at least"
    ),
    "balance_too_low": RefusalCode(
        15, "it takes {needed} atomic units, the account has {balance}: fund it or send less"
    ),
    "amount_zero": RefusalCode(16, "the amount is zero: send one atomic unit at least"),
    # nodes and stake
    "wrong_operator": RefusalCode(
        30, "this registration names another operator account: only that one can send it"
    ),
    "wrong_life": RefusalCode(
        31, "life {life} of this node was meant, {expected} is next or now: make it for that one"
    ),
    "registration_expired": RefusalCode(
        32, "the registration expired at {expiry_ms}: make a new one"
    ),
    "registration_too_long": RefusalCode(
        33, "the registration may expire at {limit_ms} at most: make one that ends sooner"
    ),
    "node_exists": RefusalCode(
        34, "the node is registered already: it can begin anew once it has left"
    ),
    "unknown_node": RefusalCode(35, "no node is registered under this key: is it copied right?"),
    "key_in_use": RefusalCode(
        36, "the {role} key is bound to another role or node for ever: make a new key"
    ),
    "keys_not_distinct": RefusalCode(37, "two roles have the same key: make one for each"),
    "fee_out_of_range": RefusalCode(
        38, "an operator's fee is at most {limit} parts of 10,000: choose a lower one"
    ),
    "stake_too_small": RefusalCode(
        39, "at least {minimum} atomic units have to be staked here: stake more"
    ),
    "stake_too_large": RefusalCode(40, "only {open} atomic units are still open: stake less"),
    "too_many_places": RefusalCode(
        41, "a node has at most {limit} contributors: choose another node"
    ),
    "bad_reservation": RefusalCode(42, "change the reserved places and sign anew, one is {why}"),
    "reserved_amount": RefusalCode(
        43, "the reserved place takes exactly {amount} atomic units: stake that"
    ),
    "already_contributes": RefusalCode(
        44, "this account has a stake in the node already: use another account"
    ),
    "not_awaiting": RefusalCode(
        45, "the node is not waiting for stake any more: its stake stays until it leaves"
    ),
    "no_contribution": RefusalCode(
        46, "this account has no stake in the node: check account and node"
    ),
    "operator_stays": RefusalCode(
        47, "the operator cannot withdraw: his stake comes back when the node leaves"
    ),
    "attestor_keys": RefusalCode(
        48, "give a key of an attestor with all that belongs to it, or leave it out: {why}"
    ),
    "leaving_already": RefusalCode(
        49, "the node is on its way out or gone already: wait for its payout, or choose another one"
    ),
    "unlock_too_early": RefusalCode(
        50, "a contributor may ask a node to leave from {from_ms} on: wait until then"
    ),
    "not_activated": RefusalCode(
        51, "before its node was active only the operator can give it up: ask him, or withdraw"
    ),
    "nothing_to_claim": RefusalCode(
        52, "no rewards wait here for this account: wait for the end of an epoch"
    ),
    "tombstoned": RefusalCode(
        53, "this node key was slashed for equivocating and never returns: make a new key"
    ),
    # contact data
    "bad_address": RefusalCode(
        60, "{address} is not an address that others can reach, give a public one: {why}"
    ),
    "bad_port": RefusalCode(61, "port {port} is out of range: give one from 1 to 65535"),
    "bad_version": RefusalCode(62, "the version 0.0.0 says nothing: send the real one"),
    "contact_sequence": RefusalCode(
        63, "sequence {sequence} is not above {last}: sign anew with a higher one"
    ),
    "contact_too_often": RefusalCode(
        64, "a node changes its contact {limit} times an epoch: wait for the next epoch"
    ),
    "keys_too_often": RefusalCode(
        65, "new keys of this node wait for the epoch's end already: wait for the next epoch"
    ),
    # attestations
    "attest_closed": RefusalCode(
        80, "header {epoch} takes no attestations now: attest the newest one in time"
    ),
    "unknown_attestor": RefusalCode(
        81, "the attestor set has no index {index}: use the place of the list key in it"
    ),
    "attested_already": RefusalCode(
        82, "attestor {index} attested header {epoch} already: wait for the next header"
    ),
    "bad_reveal": RefusalCode(
        83, "the reveal is not the preimage of the last accepted value: send the next link"
    ),
    # blocks
    "block_height": RefusalCode(
        100, "block {height} does not follow height {tip}: make the one that does"
    ),
    "block_time": RefusalCode(101, "block time {time_ms} is not after {tip_ms}: check the clock"),
    "block_too_large": RefusalCode(
        102, "the block is over its limit of {limit} {unit}: put less into it"
    ),
    "block_link": RefusalCode(
        103, "block {height} does not extend the chain that is held: ask another source"
    ),
    "block_seal": RefusalCode(
        104, "block {height} is not signed by the network's producer: ask another source"
    ),
    "block_inputs": RefusalCode(
        106, "block {height} does not carry what its header names: ask another source"
    ),
    "block_transaction": RefusalCode(105, "leave transaction {index} of block {height} out: {why}"),
    # genesis and snapshots
    "bad_parameter": RefusalCode(
        120, "parameter {name} = {value} is outside {low} to {high}: choose another value"
    ),
    "bad_relation": RefusalCode(
        121, "the parameters do not fit together, change them so that {why}"
    ),
    "bad_genesis": RefusalCode(122, "the genesis file is refused, get or make another one: {why}"),
    "bad_snapshot": RefusalCode(123, "the snapshot is refused, get another one: {why}"),
    "bad_inheritance": RefusalCode(124, "the inheritance is refused, get another one: {why}"),
    "inheritance_missing": RefusalCode(
        125,
        "this network begins with the last state of network {predecessor}: get its inheritance",
    ),
    "store_layout": RefusalCode(
        126,
        "the store has layout {found}, this version works with {known}: use the version that made "
        "it, or move it away and have another node fill a new one",
    ),
    # lists and what proves them
    "bad_header": RefusalCode(140, "the header is refused, ask another source: {why}"),
    "bad_list": RefusalCode(141, "the list is refused, ask another source: {why}"),
    "unknown_format": RefusalCode(142, "format {version} is not known: is this version current?"),
    "not_final": RefusalCode(
        143, "{weight} of {total} signed, more than two thirds must: ask later or elsewhere"
    ),
    "wrong_set": RefusalCode(
        144, "the header is signed by another set of attestors: ask another source"
    ),
    "from_the_future": RefusalCode(
        145, "the header is from the future by {ahead_ms} ms: check this machine's clock"
    ),
    "list_expired": RefusalCode(
        146, "the list was valid until {valid_until_ms}: fetch a newer one"
    ),
    "roll_back": RefusalCode(
        147, "epoch {epoch} is older than the epoch {newest} held: ask another source"
    ),
    "fork": RefusalCode(148, "two final headers for epoch {epoch}: stop and compare fingerprints"),
    "list_missing": RefusalCode(149, "no list is verified yet: fetch one first"),
    "bad_proof": RefusalCode(150, "the proof is refused, ask another source: {why}"),
    "bad_path": RefusalCode(151, "the trust path is refused, ask another source: {why}"),
    "bad_history": RefusalCode(
        152, "this header does not continue the history of the one before: ask another source"
    ),
    "trust_expired": RefusalCode(
        153,
        "what is trusted is {age_ms} ms old, and stake backs its word for {limit_ms} ms: "
        "take a newer checkpoint, or let several sources agree",
    ),
    "succeeded": RefusalCode(
        154, "this network goes on as another one: start from the genesis file {successor}"
    ),
    "wrong_successor": RefusalCode(
        155, "this genesis file is not the one that the last header names: ask another source"
    ),
    # verdicts
    "verdict_closed": RefusalCode(
        160, "epoch {epoch} takes no votes and verdicts now: send those of this epoch or the last"
    ),
    "not_tested": RefusalCode(
        161, "the node was not tested in epoch {epoch} in what it is now: wait for the next epoch"
    ),
    "no_quorum": RefusalCode(
        162, "too few nodes of other operators were active to test it: wait for more nodes"
    ),
    "bad_testers": RefusalCode(
        163, "the votes do not name testers of the node by ascending place: ask for its testers"
    ),
    "too_few_votes": RefusalCode(164, "{count} votes, {threshold} are needed: wait for more"),
    "votes_differ": RefusalCode(
        165, "the votes do not agree on pass or fail: give only those that do"
    ),
    "judged_already": RefusalCode(
        166, "the node has its verdict for epoch {epoch} already: wait for the next epoch"
    ),
    "verdict_useless": RefusalCode(
        167, "this verdict changes nothing for a node that is {state}: leave it out"
    ),
    # offences
    "unknown_offence": RefusalCode(
        180, "there is no offence {number} that a report can prove: is this version current?"
    ),
    "no_contradiction": RefusalCode(181, "this proves no offence, check the evidence: {why}"),
    "evidence_too_old": RefusalCode(
        182, "epoch {epoch} is past the age of evidence: report offences sooner, change nothing"
    ),
    "unknown_offender": RefusalCode(
        183, "nobody here ever held that key in that role: check the network and the evidence"
    ),
    "punished_already": RefusalCode(
        184, "this was punished before, at height {height}: leave it out"
    ),
    "nothing_at_stake": RefusalCode(
        185, "the stake that stood behind that key then is not locked any more: leave it out"
    ),
    "evidence_early": RefusalCode(
        186, "the votes are for epoch {epoch}, which has not begun: report them then"
    ),
    # rules that change
    "too_few_signers": RefusalCode(
        200, "{weight} of {total} signed, more than two thirds must: get more signatures"
    ),
    "bad_order": RefusalCode(201, "the order is refused, make another one: {why}"),
    "change_pending": RefusalCode(
        202, "another change is announced or under way: wait until it is in force"
    ),
    "change_too_soon": RefusalCode(
        203, "it can be in force from {from_ms} on: make an order for then or later"
    ),
    "turnover_too_high": RefusalCode(
        204, "it moves a weight of {moved}, {limit} may move at once: change less"
    ),
    "parameter_fixed": RefusalCode(
        205, "parameter {name} cannot be changed like that: leave it at {value}"
    ),
    "key_barred": RefusalCode(
        206, "list key {place} of the order was slashed for equivocating: leave it out"
    ),
    "not_on_duty": RefusalCode(
        207, "list key {place} of the order is that of a node off duty: wait until it is active"
    ),
    "network_moved": RefusalCode(
        208, "this network goes on as another one: send it there, by the genesis file {successor}"
    ),
    # what waits for a block
    "outbid": RefusalCode(
        220, "the pool is full of what pays more: send it again after the next block, or pay more"
    ),
}

CODE_OF_NUMBER: Final[Mapping[int, str]] = {row.number: code for code, row in REFUSALS.items()}
"""The code whose number a block's results hold; 0, a success, is none of them."""


class WaypostError(Exception):
    """Root of what this project raises on purpose."""


def describe(error: BaseException) -> str:
    """Return what an error says, or its name where it says nothing, as some of connections do."""
    return str(error) or type(error).__name__


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
