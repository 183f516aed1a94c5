"""Seats of a set of attestors that is to be ordered: who comes, who goes, what they weigh."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import Refusal, WaypostError
from registry.cli.arguments import KeyWeight, NewSeat
from registry.cli.passphrases import KeyFiles

if TYPE_CHECKING:
    from ledger.messages.transactions import Seat, SetAttestors
    from registry.cli import http


class NoSuchSeat(WaypostError):
    """An order speaks of a seat that is not in the set, or not of one that is."""


def find_seat(seat: NewSeat, genesis_hash: bytes, keys: KeyFiles) -> "Seat":
    """Return a seat that comes, proven by its key file or by what was printed of it."""
    from ledger.messages.transactions import Seat
    from registry.orders import prove_seat

    if isinstance(seat.holder, Path):
        return prove_seat(genesis_hash, keys.load(seat.holder), seat.weight)
    return Seat(seat.holder.list_key, seat.weight, seat.holder.tip, seat.holder.proof)


def order_recovery(
    known: "http.Rules", seats: Sequence["Seat"], epoch: int | None
) -> "SetAttestors":
    """Return the order that makes these seats the whole set. Refuses with `bad_order`."""
    from ledger.messages.transactions import BY_RECOVERY, SetAttestors

    if not known.recovery:
        raise Refusal("bad_order", why="this network has no recovery keys")
    begin = known.epoch if epoch is None else epoch
    ordered = sorted(seats, key=lambda seat: seat.list_key)
    return SetAttestors(BY_RECOVERY, begin, tuple(ordered), ())


def change_set(
    known: "http.Rules",
    added: Sequence["Seat"],
    removed: Sequence[bytes],
    weighed: Sequence[KeyWeight],
) -> list["Seat"]:
    """Return the seats of the set in force as they change, by ascending key.

    Raises `NoSuchSeat`; refuses with `change_pending`, `turnover_too_high`.
    """
    from msgspec.structs import replace

    from ledger.messages.lists import Attestor
    from ledger.messages.transactions import Seat
    from ledger.rules.attestors import compute_turnover, turnover_limit
    from ledger.transactions.orders import get_members_of

    if known.ordered or known.attestors != known.next_attestors:
        raise Refusal("change_pending")
    old = [Attestor(bytes.fromhex(row.list_key), row.weight) for row in known.attestors]
    seats = {member.list_key: Seat(member.list_key, member.weight, b"", b"") for member in old}
    for key in (*removed, *(change.list_key for change in weighed)):
        if key not in seats:
            raise NoSuchSeat(f"{key.hex()} is no attestor: `waypost network rules` shows them")
    for change in weighed:
        seats[change.list_key] = replace(seats[change.list_key], weight=change.weight)
    for key in removed:
        seats.pop(key, None)
    seats |= {seat.list_key: seat for seat in added}
    if not seats:
        raise NoSuchSeat("this would leave no attestor at all: the last one stays")
    ordered = [seats[key] for key in sorted(seats)]
    moved, limit = compute_turnover(old, get_members_of(ordered)), turnover_limit(old)
    if moved > limit:
        raise Refusal("turnover_too_high", moved=moved, limit=limit)
    return ordered
