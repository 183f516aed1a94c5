"""The seed of the next epoch, and the header whose attestations end."""

from ledger.codec import encode
from ledger.epochs.absences import count_absences
from ledger.epochs.ending import Ending, Pauses
from ledger.history import AttestorSet, announcement_key, final_key, set_key
from ledger.lists import get_signed_header
from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import (
    attestor_set_hash,
    decode_header,
    encode_signed_header,
    is_final,
    weigh,
)
from ledger.messages.tables import ATTESTATIONS, SETS
from ledger.rules.seeds import compute_next_seed
from ledger.state import State
from ledger.succession import note_final


def apply_seed(state: State, ending: Ending) -> Pauses:
    """Mix the accepted reveals into the next seed, in index order."""
    reveals = [(key[0], record.reveal) for key, record in state.items(ATTESTATIONS)]
    ending.seed = compute_next_seed(ending.seed, reveals)
    yield


def freeze_attestations(state: State, ending: Ending) -> Pauses:
    """Move the header and its attestations from the state to the history, and who may sign it.

    Who missed a header that is final without him is noted, where that may cost a seat.
    """
    signed = get_signed_header(state)
    sets = state.one(SETS)
    members = sets.current
    ending.is_final = is_final(*weigh(signed, members))
    state.archived[set_key(attestor_set_hash(members))] = encode(AttestorSet(members))
    state.archived[final_key(ending.epoch - 1)] = encode_signed_header(signed)
    header = decode_header(signed.header)
    if ending.is_final:
        note_final(state, header)
        if header.next_set_hash != header.set_hash:
            state.archived[announcement_key(ending.epoch - 1)] = b""
        if sets.policy == REGISTRY:
            count_absences(state, members, [index for index, _ in signed.signatures], ending.params)
    for index, _ in signed.signatures:
        state.delete(ATTESTATIONS, bytes([index]))
    yield
