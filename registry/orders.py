"""Orders that many sign: files that go from holder to holder, each of whom adds a signature.

- A file holds the order itself, for one network, and the signatures so far, by ascending key. Which
  of the keys may sign is looked up when the order is sent.
- A file that holds a signature which does not fit is refused whole.
- Copies of one order that were signed apart are put together again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from ledger.codec import U8, Bytes32, Codec, Record, encode
from ledger.crypto import KeyPair, Signed, sign, signing_bytes, verify_all
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.transactions import (
    BY_RECOVERY,
    MAX_SEATS,
    Seat,
    SetAttestors,
    SetParams,
    SetSuccessor,
    Signer,
)
from ledger.transactions.orders import order_of
from ledger.types import Hash, Key
from registry.founding import make_seat
from registry.keystore import RECOVERY, derive

MAX_ORDER_BYTES: Final = 2**15
MAX_FILE_BYTES: Final = 2**16

Order: TypeAlias = SetAttestors | SetParams | SetSuccessor
"""What is ordered; in a file it names no signers."""


class OrderFile(Record, frozen=True):
    """A file with an order, as it goes from holder to holder."""

    kind: U8
    """Number in `ORDERS`; that of the transaction which carries it."""
    genesis_hash: Bytes32
    """The network that it is for."""
    order: Annotated[bytes, msgspec.Meta(max_length=MAX_ORDER_BYTES)]
    """The encoded body of the transaction, without signers."""
    signatures: Annotated[tuple[Signer, ...], msgspec.Meta(max_length=2 * MAX_SEATS)]
    """By ascending key."""


class OrderKind(NamedTuple):
    """One row of `ORDERS`."""

    name: str
    """Of the transaction."""
    body: type[Order]
    codec: Codec[Any]
    payload: Callable[[Any], bytes]
    """What is signed of it."""


ORDERS: Final = {
    12: OrderKind(
        "set_attestors",
        SetAttestors,
        Codec(SetAttestors, "order of attestors", MAX_ORDER_BYTES),
        lambda order: encode(order_of(order)),
    ),
    13: OrderKind(
        "set_params",
        SetParams,
        Codec(SetParams, "order of parameters", MAX_ORDER_BYTES),
        lambda order: encode(order.order),
    ),
    14: OrderKind(
        "set_successor",
        SetSuccessor,
        Codec(SetSuccessor, "order of a successor", MAX_ORDER_BYTES),
        lambda order: encode(order.order),
    ),
}
"""Every kind of order by the tag of its transaction."""

ORDER_FILE: Final[Codec[OrderFile]] = Codec(OrderFile, "order file", MAX_FILE_BYTES)


def make_order(genesis_hash: Hash, order: Order) -> OrderFile:
    """Return the file of an order that nobody has signed yet."""
    kind = next(tag for tag, row in ORDERS.items() if row.body is type(order))
    return OrderFile(kind, genesis_hash, encode(replace(order, signers=())), ())


def read_order(raw: bytes) -> OrderFile:
    """Return what a file holds, every signature verified.

    Refuses with `not_canonical`, `too_large`, `bad_order`, `bad_signature`.
    """
    file = ORDER_FILE.decode(raw)
    if file.kind not in ORDERS:
        raise Refusal("bad_order", why="it is of a kind that this version does not know")
    if get_order(file).signers:
        raise Refusal("bad_order", why="its signatures do not stand where they belong")
    keys = [row.key for row in file.signatures]
    if keys != sorted(set(keys)):
        raise Refusal("bad_order", why="its signatures are not in ascending order, once each")
    message = get_message(file)
    if not all(verify_all(Signed(row.key, message, row.signature) for row in file.signatures)):
        raise Refusal("bad_signature")
    return file


def get_order(file: OrderFile) -> Order:
    """Return what is ordered. Refuses with `not_canonical`."""
    order: Order = ORDERS[file.kind].codec.decode(file.order)
    return order


def get_message(file: OrderFile) -> bytes:
    """Return the bytes that each holder signs."""
    order = get_order(file)
    payload = ORDERS[file.kind].payload(order)
    return signing_bytes(_get_tag(order), file.genesis_hash, payload)


def _get_tag(order: Order) -> bytes:
    if isinstance(order, SetParams):
        return tags.PARAMS_ORDER
    if isinstance(order, SetSuccessor):
        return tags.SUCCESSOR_ORDER
    return tags.RECOVERY_ORDER if order.authority == BY_RECOVERY else tags.SET_ORDER


def get_role(order: Order) -> str:
    """Return the role of the keys that sign an order, as `registry.keystore` names it."""
    is_recovery = isinstance(order, SetAttestors) and order.authority == BY_RECOVERY
    return RECOVERY if is_recovery else "list"


def sign_order(file: OrderFile, pair: KeyPair) -> OrderFile:
    """Return the file with one signature more, or the same where that key has signed."""
    return _with(file, [Signer(pair.public, sign(pair, get_message(file)))])


def unite_orders(files: Sequence[OrderFile]) -> OrderFile:
    """Return one file with the signatures of all its copies. Refuses with `bad_order`."""
    first, *others = files
    if any(replace(one, signatures=()) != replace(first, signatures=()) for one in others):
        raise Refusal("bad_order", why="the files are not copies of one order")
    return _with(first, [row for one in others for row in one.signatures])


def _with(file: OrderFile, added: Iterable[Signer]) -> OrderFile:
    rows = {row.key: row for row in (*file.signatures, *added)}
    return replace(file, signatures=tuple(rows[key] for key in sorted(rows)))


def fill_order(file: OrderFile, voters: Sequence[Key]) -> Order:
    """Return the body of the transaction; `voters` may sign.

    Signatures of others are left out: they count for nothing.
    """
    signers = tuple(row for row in file.signatures if row.key in voters)
    return replace(get_order(file), signers=signers)


# ----------------------------------------------------------------------------------- seats


def prove_seat(genesis_hash: Hash, seed: bytes, weight: int = 1) -> Seat:
    """Return the seat of whoever holds a seed, with the proof that an order needs."""
    made = make_seat(seed, weight)
    message = signing_bytes(tags.SEAT, genesis_hash, made.tip)
    return Seat(made.list_key, weight, made.tip, sign(derive(seed, "list"), message))
