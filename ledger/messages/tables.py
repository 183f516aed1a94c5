"""The tables of the state: which record lies under which store key.

- A store key is one letter and then the record's own key. Lower-case letters are state, proven by
  the state root, and so are `{`, `|` and `}`, which follow on `z`: there are more tables than
  letters.
- A table without an own key holds one record.
- Numbers in keys are big-endian, so that byte order is their order.
"""

from typing import Final, Generic, NamedTuple, TypeVar

from ledger.codec import MAX_RECORD_BYTES, Codec, Record
from ledger.messages import state as records
from ledger.messages.contact import Contact
from ledger.messages.transactions import KeyChange

R = TypeVar("R", bound=Record)


class Table(NamedTuple, Generic[R]):
    """One row of the key table."""

    name: str
    """For people, and in the paths of the API."""
    letter: bytes
    codec: Codec[R]
    key: str
    """What follows the letter: parts with their bytes, joined by ‖."""
    sizes: tuple[int, ...]
    """How long that may be: bytes of the record's own key."""
    meaning: str


def _table(
    name: str,
    letter: bytes,
    record: type[R],
    key: str,
    meaning: str,
    max_bytes: int = MAX_RECORD_BYTES,
) -> Table[R]:
    return Table(
        name, letter, Codec(record, record.__name__, max_bytes), key, _add_up(key), meaning
    )


def _add_up(key: str) -> tuple[int, ...]:
    """Return the lengths that the notation of a key allows; `key 32, or address 20` allows two."""
    sizes = [0]
    for part in key.split(" ‖ "):
        numbers = [int(word) for word in part.replace(",", "").split() if word.isdigit()]
        sizes = [size + number for size in sizes for number in numbers or [0]]
    return tuple(sizes)


MAX_ROSTER_BYTES: Final = 2**24 + 100
"""Room for every node that a list may hold, with its operator."""

MAX_KEY_BYTES: Final = 41
"""The longest store key: letter, key of a role, epoch."""

# fmt: off
ACCOUNTS = _table("accounts", b"a", records.Account, "account 32", "balance and nonce")
BINDINGS = _table("bindings", b"b", records.Binding, "key 32, or address 20",
                  "role and node that a key, or a consensus key's address, is bound to for ever")
CONTACTS = _table("contacts", b"c", Contact, "node 32", "contact data in force")
PENDING = _table("pending", b"d", records.PendingContact, "node 32",
                 "contact data from the epoch's end on")
EPOCH = _table("epoch", b"e", records.EpochState, "", "the running epoch")
FAILING = _table("failing", b"f", records.Failing, "node 32",
                 "failing epochs of nodes that fail or are down")
PUNISHED = _table("punished", b"g", records.Punished, "key 32, or address 20 ‖ epoch 8",
                  "what was punished")
HEADER = _table("header", b"h", records.RawHeader, "", "header that the running epoch attests")
DRAFT = _table("draft", b"i", records.RawHeader, "", "header that waits for its state root")
VERDICTS = _table("verdicts", b"j", records.Verdict, "epoch 8 ‖ node 32",
                  "verdicts that have no effect yet")
HISTORIES = _table("histories", b"k", records.KeyHistory, "node 32",
                   "life, sequence, tombstone; permanent")
CHAINLINKS = _table("chainlinks", b"l", records.Chainlink, "list key 32",
                    "hash chain of an attestor")
MATURES = _table("matures", b"m", records.Due, "time 8 ‖ node 32",
                 "nodes by the time they begin to earn")
NODES = _table("nodes", b"n", records.Node, "node 32", "the current life of a node")
PAYOUTS = _table("payouts", b"o", records.Due, "time 8 ‖ node 32",
                 "nodes whose duty ended, by payout")
PARAMS = _table("params", b"p", records.ParamsState, "", "parameters in force and announced")
QUEUE = _table("queue", b"q", records.Queued, "height 8 ‖ index 4",
               "funded nodes in order of funding")
POOL = _table("pool", b"r", records.Pool, "", "reward pool, supply, and rewards that wait")
SWARMS = _table("swarms", b"s", records.Swarm, "node 32",
                "swarm of each active node; there for no other")
ATTESTATIONS = _table("attestations", b"t", records.Attestation, "index 1",
                      "attestations of the header")
NEW_KEYS = _table("new_keys", b"u", KeyChange, "node 32", "role keys from the epoch's end on")
SETS = _table("sets", b"v", records.AttestorSets, "", "attestors now, next and ordered")
ROSTERS = _table("rosters", b"w", records.Roster, "epoch 8",
                 "who tests in this epoch and the one before",
                 MAX_ROSTER_BYTES)
EXITS = _table("exits", b"x", records.Due, "time 8 ‖ node 32",
               "nodes that leave, by the time they may")
HEADERS = _table("headers", b"y", records.HistoryState, "", "history tree over the headers")
STARTS = _table("starts", b"z", records.EpochStart, "epoch 8",
                "start of each epoch that evidence may be of")
SUCCESSION = _table("succession", b"{", records.Succession, "",
                    "the network that goes on after this one, once one was ordered")
VALIDATORS = _table("validators", b"|", records.Validators, "",
                    "consensus key of each seat, under an engine that has validators")
ABSENCES = _table("absences", b"}", records.Absence, "list key 32",
                  "headers that a seat missed, where the registry fills the seats")
# fmt: on

TABLES: Final[tuple[Table[Record], ...]] = (
    ACCOUNTS, BINDINGS, CONTACTS, PENDING, EPOCH, FAILING, PUNISHED, HEADER, DRAFT, VERDICTS,
    HISTORIES, CHAINLINKS, MATURES, NODES, PAYOUTS, PARAMS, QUEUE, POOL, SWARMS, ATTESTATIONS,
    NEW_KEYS, SETS, ROSTERS, EXITS, HEADERS, STARTS, SUCCESSION, VALIDATORS,
    ABSENCES,
)  # type: ignore[assignment]  # fmt: skip
"""Every table of the state. A test holds `docs/spec/state.md` equal to this."""

TABLE_OF: Final = {table.name: table for table in TABLES}
"""Each table by its name."""
