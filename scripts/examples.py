"""The examples in bytes that the specification shows; `tests/vectors/examples.json` has them too.

Everything follows from a few keys whose seeds are one byte, 32 times.
"""

import json
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import Codec, Record, encode
from ledger.crypto import key_pair, sha256, sign, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.blocks import Block, BlockInput, block_hash
from ledger.messages.challenges import Answered, Challenge
from ledger.messages.checkins import CheckIn
from ledger.messages.contact import Contact, Version
from ledger.messages.duty import Vote
from ledger.messages.evidence import ListEquivocation, VoteEquivocation
from ledger.messages.genesis import (
    FIXED,
    GENESIS_VERSION,
    NEW_SWARM,
    SOLO,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
    GenesisNode,
)
from ledger.messages.lists import decode_header, encode_header
from ledger.messages.transactions import (
    BY_ATTESTORS,
    BY_RECOVERY,
    VERSION,
    ClaimRewards,
    ContactUpdate,
    Contribute,
    Envelope,
    Free,
    Judge,
    KeyChange,
    Paid,
    ParamsOrder,
    Place,
    Register,
    Registration,
    Report,
    RequestUnlock,
    Seat,
    SetAttestors,
    SetKeys,
    SetParams,
    SetSuccessor,
    Signer,
    SuccessorOrder,
    TesterVote,
    Transfer,
    UpdateContact,
)
from ledger.offences import OFFENCES
from ledger.params import DAY, HOUR, SECOND, preset
from ledger.steps import run
from ledger.store import MemoryStore
from ledger.transactions import TX_KINDS
from ledger.transactions.orders import order_of
from ledger.types import COIN, Hash

ENCODINGS: Final = (
    ("93 01 02 03", "it is one"),
    ("93 cc 80 02 03", "it is one: 128 takes two bytes"),
    ("93 01 02 cc 03", "an integer that is longer than it has to be"),
    ("dc 00 03 01 02 03", "an array's head that is longer than it has to be"),
    ("92 01 02", "a field is missing"),
    ("94 01 02 03 04", "a field too many"),
    ("93 01 02 03 00", "a byte is left over"),
    ("93 01 02", "the end is cut off"),
    ("93 01 02 cd 01 00", "256 does not fit a u8"),
    ("93 01 02 ff", "a negative integer"),
    ("93 01 02 ca 40 40 00 00", "a float, although its value is 3"),
    ("93 01 02 c3", "a truth value"),
    ("93 01 02 c0", "nil"),
    ("93 01 02 c4 01 03", "bytes instead of an integer"),
    ("93 01 02 a1 33", "text"),
    ("93 01 02 d4 00 03", "an extension type"),
    ("81 01 02", "a map"),
)
"""Encodings of a `Version`, and what is to be said of them; a test holds them to the decoder."""


def is_canonical_version(raw: bytes) -> bool:
    """Whether the decoder takes these bytes as a version."""
    try:
        Codec[Version](Version, "version").decode(raw)
    except Refusal:
        return False
    return True


SEEDS: Final = {
    **{"operator": 0x01, "other": 0x02, "producer": 0x21, "attestor": 0x22},
    **{"node": 0x11, "duty": 0x12, "list": 0x13, "consensus": 0x14, "new duty": 0x17},
    **{"first node": 0x15, "first duty": 0x16, "second attestor": 0x23, "recovery": 0x24},
}
"""Keys of the examples: the seed of each is this byte 32 times."""
PAIRS: Final = {name: key_pair(32 * bytes([byte])) for name, byte in SEEDS.items()}
KEYS: Final = {name: pair.public for name, pair in PAIRS.items()}

START_MS: Final = 1_800_000_000_000
TIP: Final = sha256(32 * b"\x33")
"""The one link of the hash chains of the examples."""


def example_contact(last: int) -> Contact:
    """Contact data with both kinds of address, which end with this byte."""
    return Contact(
        ipv4=bytes((8, 8, 8, last)),
        ipv6=bytes.fromhex("2a00147040") + bytes(10) + bytes([last]),
        storage_port=22021,
        router_port=22020,
        storage_version=Version(2, 8, 0),
        router_version=Version(11, 5, 1),
    )


FOUNDING_NODE: Final = GenesisNode(
    node=KEYS["first node"],
    operator=KEYS["other"],
    duty_key=KEYS["first duty"],
    contact=example_contact(9),
    swarm_id=NEW_SWARM,
    exit_ms=0,
)

PARAMS: Final = preset("minimal", {"quorum_testers": 1, "quorum_threshold": 1})
"""One tester is a quorum, so that two nodes are enough for a verdict."""

GENESIS: Final = encode(
    Genesis(
        version=GENESIS_VERSION,
        name=b"example",
        start_ms=START_MS,
        engine=SOLO,
        producer=KEYS["producer"],
        policy=FIXED,
        seed=32 * b"\x44",
        params=tuple(PARAMS),
        pool=1_000 * COIN,
        attestors=(GenesisAttestor(KEYS["attestor"], 1, TIP),),
        recovery=(KEYS["recovery"],),
        accounts=tuple(
            GenesisAccount(account, 500 * COIN)
            for account in sorted((KEYS["operator"], KEYS["other"]))
        ),
        nodes=(FOUNDING_NODE,),
    )
)


class Example(NamedTuple):
    """Something signed."""

    signer: str
    tag: bytes
    payload: bytes
    message: bytes
    signature: bytes


def signed_example(signer: str, tag: bytes, payload: bytes) -> Example:
    """Sign a payload under a tag for the network of the examples."""
    message = signing_bytes(tag, sha256(GENESIS), payload)
    return Example(signer, tag, payload, message, sign(PAIRS[signer], message))


# ---- What is signed ----

TRANSFER: Final = Envelope(
    VERSION, 1, KEYS["operator"], nonce=0, fee=1_000, expiry=100, body=Transfer(KEYS["other"], COIN)
)
REGISTRATION: Final = Registration(
    node=KEYS["node"],
    life=1,
    operator=KEYS["operator"],
    beneficiary=KEYS["operator"],
    fee=1_000,
    reserved=(Place(KEYS["other"], 25 * COIN),),
    contact=example_contact(8),
    duty_key=KEYS["duty"],
    list_key=KEYS["list"],
    list_tip=TIP,
    consensus_key=KEYS["consensus"],
    expiry_ms=START_MS + HOUR,
)
UPDATE: Final = ContactUpdate(KEYS["node"], life=1, sequence=1, contact=example_contact(4))
CHANGE: Final = KeyChange(
    node=KEYS["node"],
    life=1,
    sequence=2,
    duty_key=KEYS["new duty"],
    list_key=KEYS["list"],
    list_tip=b"",
    consensus_key=KEYS["consensus"],
)
FAIL: Final = Vote(epoch=2, node=KEYS["node"], life=1, faults=5)
PASS: Final = replace(FAIL, faults=0)
CHECK_IN: Final = CheckIn(KEYS["node"], START_MS + HOUR, Version(1, 0, 0), faults=16)
ANSWERED: Final = Answered(
    Challenge(KEYS["node"], KEYS["first node"], sha256(b"a nonce"), epoch=2),
    START_MS + HOUR,
    Version(1, 0, 0),
)
PARAMS_ORDER: Final = ParamsOrder(
    from_ms=START_MS + 5 * DAY, values=tuple(PARAMS._replace(minimum_fee=2_000))
)
SUCCESSOR_ORDER: Final = SuccessorOrder(sha256(b"another genesis file"), START_MS + 10 * DAY)


def example_seats(*names: str) -> tuple[Seat, ...]:
    """Seats of weight 1; a second attestor brings a hash chain, and proves it."""
    proof = signed_example("second attestor", tags.SEAT, TIP).signature
    new = {"second attestor": (TIP, proof)}
    rows = (Seat(KEYS[name], 1, *new.get(name, (b"", b""))) for name in names)
    return tuple(sorted(rows, key=lambda seat: seat.list_key))


ADDED: Final = SetAttestors(
    BY_ATTESTORS, START_MS + 15 * SECOND, example_seats("attestor", "second attestor"), ()
)
RECOVERED: Final = SetAttestors(BY_RECOVERY, 2, example_seats("second attestor"), ())


@cache
def signed_examples() -> dict[str, Example]:
    """Whatever a signature covers, once."""
    registration, change = encode(REGISTRATION), encode(CHANGE)
    rows = {
        "envelope": ("operator", tags.TRANSACTION, encode(TRANSFER)),
        "registration": ("node", tags.REGISTRATION, registration),
        "duty key": ("duty", tags.DUTY_KEY, registration),
        "list key": ("list", tags.LIST_KEY, registration),
        "consensus key": ("consensus", tags.CONSENSUS_KEY, registration),
        "contact": ("node", tags.CONTACT, encode(UPDATE)),
        "key change": ("node", tags.KEY_CHANGE, change),
        "new duty key": ("new duty", tags.DUTY_KEY, change),
        "same list key": ("list", tags.LIST_KEY, change),
        "same consensus key": ("consensus", tags.CONSENSUS_KEY, change),
        "failing vote": ("first duty", tags.VOTE, encode(FAIL)),
        "passing vote": ("first duty", tags.VOTE, encode(PASS)),
        "answer to a challenge": ("duty", tags.CHALLENGE, encode(ANSWERED)),
        "check-in": ("node", tags.CHECK_IN, encode(CHECK_IN)),
        "seat": ("second attestor", tags.SEAT, TIP),
        "attestor order": ("attestor", tags.SET_ORDER, encode(order_of(ADDED))),
        "recovery order": ("recovery", tags.RECOVERY_ORDER, encode(order_of(RECOVERED))),
        "parameter order": ("attestor", tags.PARAMS_ORDER, encode(PARAMS_ORDER)),
        "successor order": ("second attestor", tags.SUCCESSOR_ORDER, encode(SUCCESSOR_ORDER)),
    }
    return {name: signed_example(*row) for name, row in rows.items()}


# ---- What is sent ----

TAG: Final = {kind.name: kind.tag for kind in TX_KINDS}
OFFENCE: Final = {offence.name: offence.number for offence in OFFENCES}

SENT: Final = {
    "transfer": ("transfer", 0),
    "register": ("register", 1),
    "update_contact": ("update_contact", 0),
    "contribute": ("contribute", 0),
    "set_keys": ("set_keys", 0),
    "claim_rewards": ("claim_rewards", 1),
    "judge": ("judge", 0),
    "request_unlock": ("request_unlock", 2),
    "set_attestors": ("set_attestors", 3),
    "set_params": ("set_params", 4),
    "report of votes": ("report", 5),
    "report of headers": ("report", 6),
    "set_attestors by recovery": ("set_attestors", 7),
    "set_successor": ("set_successor", 8),
}
"""Kind and nonce of each transaction; those of free kinds have none."""

BY_OTHER: Final = ("contribute", "claim_rewards")
"""What the other account sends; everything else that is paid for is the operator's."""

BLOCKS: Final = (
    (1 * SECOND, ("transfer", "register", "update_contact")),
    (2 * SECOND, ("contribute", "set_keys")),
    (10 * SECOND, ()),
    (11 * SECOND, ("claim_rewards", "judge", "request_unlock", "set_attestors", "set_params",
                   "report of votes")),
    (12 * SECOND, ("report of headers", "set_attestors by recovery")),
    (20 * SECOND, ()),
    (21 * SECOND, ("set_successor",)),
)  # fmt: skip
"""The chain of the examples: how long after genesis each block is made, and what it carries."""


@cache
def example_evidence() -> dict[str, bytes]:
    """Evidence of each offence that a report can prove."""
    signature = {name: one.signature for name, one in signed_examples().items()}
    votes = VoteEquivocation(
        duty_key=KEYS["first duty"],
        epoch=FAIL.epoch,
        node=FAIL.node,
        life=FAIL.life,
        pass_signature=signature["passing vote"],
        faults=FAIL.faults,
        fail_signature=signature["failing vote"],
    )
    chain = Chain(MemoryStore(), GENESIS)
    chain.init()
    header = decode_header(chain.newest_header().header)
    first, second = sorted(
        encode_header(header._replace(height=height)) for height in (header.height, 1)
    )
    by_attestor = [
        signed_example("attestor", tags.LIST_HEADER, raw).signature for raw in (first, second)
    ]
    headers = ListEquivocation(
        KEYS["attestor"], first, by_attestor[0], second, by_attestor[1], b"", ()
    )
    return {"vote_equivocation": encode(votes), "list_equivocation": encode(headers)}


def example_bodies() -> dict[str, Record]:
    """The body of each example."""
    signature = {name: one.signature for name, one in signed_examples().items()}
    evidence = example_evidence()
    return {
        "transfer": TRANSFER.body,
        "register": Register(
            registration=REGISTRATION,
            node_signature=signature["registration"],
            duty_signature=signature["duty key"],
            list_signature=signature["list key"],
            consensus_signature=signature["consensus key"],
            stake=75 * COIN,
        ),
        "update_contact": UpdateContact(UPDATE, signature["contact"]),
        "contribute": Contribute(KEYS["node"], 1, 25 * COIN, KEYS["other"]),
        "set_keys": SetKeys(
            change=CHANGE,
            node_signature=signature["key change"],
            duty_signature=signature["new duty key"],
            list_signature=signature["same list key"],
            consensus_signature=signature["same consensus key"],
        ),
        "claim_rewards": ClaimRewards(KEYS["first node"], 1),
        "judge": Judge(
            epoch=FAIL.epoch,
            node=FAIL.node,
            life=FAIL.life,
            votes=(TesterVote(0, FAIL.faults, signature["failing vote"]),),
        ),
        "request_unlock": RequestUnlock(KEYS["node"], 1),
        "set_attestors": replace(
            ADDED, signers=(Signer(KEYS["attestor"], signature["attestor order"]),)
        ),
        "set_params": SetParams(
            PARAMS_ORDER, (Signer(KEYS["attestor"], signature["parameter order"]),)
        ),
        "report of votes": Report(OFFENCE["vote_equivocation"], evidence["vote_equivocation"]),
        "report of headers": Report(OFFENCE["list_equivocation"], evidence["list_equivocation"]),
        "set_attestors by recovery": replace(
            RECOVERED, signers=(Signer(KEYS["recovery"], signature["recovery order"]),)
        ),
        "set_successor": SetSuccessor(
            SUCCESSOR_ORDER, (Signer(KEYS["second attestor"], signature["successor order"]),)
        ),
    }


@cache
def example_transactions() -> dict[str, bytes]:
    """The examples as they are sent."""
    is_free = {kind.name: kind.is_free for kind in TX_KINDS}
    sent = {}
    for name, body in example_bodies().items():
        kind, nonce = SENT[name]
        if is_free[kind]:
            sent[name] = encode(Free(VERSION, TAG[kind], body))
            continue
        sender = "other" if name in BY_OTHER else "operator"
        envelope: Envelope[Any] = Envelope(
            VERSION, TAG[kind], KEYS[sender], nonce, fee=1_000, expiry=100, body=body
        )
        by_sender = signed_example(sender, tags.TRANSACTION, encode(envelope)).signature
        sent[name] = encode(Paid(envelope, by_sender))
    return sent


# ---- The chain that carries it ----


class ExampleChain(NamedTuple):
    """The chain of the examples, in which all of them are applied."""

    genesis_root: Hash
    blocks: tuple[Block, ...]
    seals: tuple[Example, ...]


@cache
def example_chain() -> ExampleChain:
    """Execute the transactions of the examples; a block that held a bad one would be refused."""
    chain = Chain(MemoryStore(), GENESIS)
    chain.init()
    genesis_root = chain.tip.root
    sent = example_transactions()
    blocks, seals = [], []
    for height, (after_ms, names) in enumerate(BLOCKS, 1):
        raws = tuple(sent[name] for name in names)
        given = BlockInput(height, START_MS + after_ms, KEYS["producer"], (), raws)
        run(chain.validate(given))
        run(chain.finalize(given))
        seals.append(signed_example("producer", tags.BLOCK, encode(chain.header())))
        blocks.append(chain.commit(seals[-1].signature))
    return ExampleChain(genesis_root, tuple(blocks), tuple(seals))


def compose_examples() -> str:
    """Return the text of the file of examples: all bytes in hexadecimal."""
    document: dict[str, Any] = {
        "about": "Made by scripts/generate_docs.py. A seed is its byte, 32 times.",
        "seeds": {name: f"{byte:02x}" for name, byte in SEEDS.items()},
        "keys": {name: key.hex() for name, key in KEYS.items()},
        "genesis": {
            "file": GENESIS.hex(),
            "hash": sha256(GENESIS).hex(),
            "state_root": example_chain().genesis_root.hex(),
        },
        "signed": {
            name: {
                "signer": one.signer,
                "tag": one.tag.decode(),
                "payload": one.payload.hex(),
                "message": one.message.hex(),
                "signature": one.signature.hex(),
            }
            for name, one in {**signed_examples(), "block": example_chain().seals[0]}.items()
        },
        "transactions": {
            name: {"bytes": raw.hex(), "hash": sha256(raw).hex()}
            for name, raw in example_transactions().items()
        },
        "evidence": {name: raw.hex() for name, raw in example_evidence().items()},
        "blocks": [
            {
                "bytes": encode(block).hex(),
                "hash": block_hash(block.header).hex(),
                "state_root": block.header.state_root.hex(),
            }
            for block in example_chain().blocks
        ],
        "encodings": [
            {"bytes": raw.replace(" ", ""), "canonical": is_canonical_version(bytes.fromhex(raw))}
            for raw, _ in ENCODINGS
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def quote(*lines: tuple[str, bytes]) -> str:
    """Named bytes in hexadecimal, 32 in a line."""
    shown = []
    for name, raw in lines:
        text = raw.hex()
        shown.append(f"{name}, {len(raw)} bytes")
        shown += [f"    {text[at : at + 64]}" for at in range(0, len(text), 64)]
    return "\n".join(("```text", *shown, "```"))


def quote_signed(name: str) -> str:
    """A signed example: the first line of the message is the tag, the second the genesis hash."""
    one = example_chain().seals[0] if name == "block" else signed_examples()[name]
    key = ("key", KEYS[one.signer])
    return quote(("message", one.message), key, ("signature", one.signature))


def quote_transaction(name: str) -> str:
    """A transaction as it is sent."""
    raw = example_transactions()[name]
    return quote((name, raw), ("its hash", sha256(raw)))


def quote_evidence(name: str) -> str:
    """The evidence of an offence."""
    return quote(("evidence", example_evidence()[name]))


def quote_genesis() -> str:
    """The genesis file of the examples."""
    root = ("state root", example_chain().genesis_root)
    return quote(("genesis file", GENESIS), ("its hash", sha256(GENESIS)), root)


def quote_block() -> str:
    """The header of the first block of the examples, and its hash."""
    header = example_chain().blocks[0].header
    roots = (("inputs", header.inputs), ("state root", header.state_root))
    return quote(("header", encode(header)), *roots, ("block hash", block_hash(header)))


def quote_roots() -> str:
    """The state root after each block of the examples."""
    blocks = enumerate(example_chain().blocks, 1)
    return quote(*((f"after block {place}", block.header.state_root) for place, block in blocks))
