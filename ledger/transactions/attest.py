"""An attestor's signature of the newest header: `attest`.

- It signs the header of the epoch before, by the set that this header names.
- Each seat attests once, within `attest_blocks` blocks; what comes later is too late.
- It reveals the preimage of the seat's last accepted value, which goes into the next seed.
"""

from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.messages.lists import Attestor, attestation
from ledger.messages.state import Attestation, Chainlink
from ledger.messages.tables import ATTESTATIONS, CHAINLINKS, EPOCH, HEADER, SETS
from ledger.messages.transactions import Attest
from ledger.rules.seeds import is_next_link
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction
from ledger.types import Hash


def check_attest(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `attest_closed`, `unknown_attestor`, `attested_already`, `bad_reveal`."""
    body: Attest = tx.body
    epoch = state.one(EPOCH)
    is_open = context.height <= epoch.start_height + context.params.attest_blocks
    if body.epoch != epoch.epoch - 1 or not is_open:
        raise Refusal("attest_closed", epoch=body.epoch)
    seat = _get_seat(state, body)
    if state.get(ATTESTATIONS, bytes([body.index])) is not None:
        raise Refusal("attested_already", index=body.index, epoch=body.epoch)
    if not is_next_link(body.reveal, state.one(CHAINLINKS, seat.list_key).value):
        raise Refusal("bad_reveal")


def _get_seat(state: State, body: Attest) -> Attestor:
    members = state.one(SETS).current
    if body.index >= len(members):
        raise Refusal("unknown_attestor", index=body.index)
    return members[body.index]


def apply_attest(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Keep signature and reveal, and go one link along the seat's hash chain."""
    body: Attest = tx.body
    seat = _get_seat(state, body)
    state.put(ATTESTATIONS, Attestation(body.reveal, body.signature), bytes([body.index]))
    link = state.one(CHAINLINKS, seat.list_key)
    state.put(CHAINLINKS, Chainlink(body.reveal, link.accepted + 1), seat.list_key)


def attest_signatures(state: State, body: Attest, genesis_hash: Hash) -> list[Signed]:
    """Return the list key's signature of the stored header.

    Refuses with `attest_closed` and `unknown_attestor`.
    """
    header = state.get(HEADER)
    if header is None or body.epoch != state.one(EPOCH).epoch - 1:
        raise Refusal("attest_closed", epoch=body.epoch)
    seat = _get_seat(state, body)
    return [attestation(genesis_hash, header.header, seat.list_key, body.signature)]
