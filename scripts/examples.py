"""The examples in bytes that the specification shows; `tests/vectors/examples.json` has them too.

Everything follows from a few keys whose seeds are one byte, 32 times.
"""

import json
from functools import cache
from typing import Any, Final, NamedTuple

from ledger.chain import Chain
from ledger.codec import Codec, encode
from ledger.crypto import key_pair, sha256, sign, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.blocks import Block, BlockInput, block_hash
from ledger.messages.contact import Contact, Version
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
from ledger.messages.transactions import (
    VERSION,
    ContactUpdate,
    Envelope,
    Free,
    Paid,
    Place,
    Register,
    Registration,
    Transfer,
    UpdateContact,
)
from ledger.params import HOUR, SECOND, preset
from ledger.steps import run
from ledger.store import MemoryStore
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
    **{"node": 0x11, "duty": 0x12, "list": 0x13, "consensus": 0x14},
    **{"first node": 0x15, "first duty": 0x16},
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

GENESIS: Final = encode(
    Genesis(
        version=GENESIS_VERSION,
        name=b"example",
        start_ms=START_MS,
        engine=SOLO,
        producer=KEYS["producer"],
        policy=FIXED,
        seed=32 * b"\x44",
        params=tuple(preset("minimal")),
        pool=1_000 * COIN,
        attestors=(GenesisAttestor(KEYS["attestor"], 1, TIP),),
        recovery=(),
        accounts=tuple(
            GenesisAccount(account, 500 * COIN)
            for account in sorted((KEYS["operator"], KEYS["other"]))
        ),
        nodes=(FOUNDING_NODE,),
    )
)

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

SIGNED: Final = ("envelope", "registration", "duty key", "list key", "consensus key", "contact")
SENT: Final = ("transfer", "register", "update_contact")
"""Names of the examples, beside the block that carries them."""


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


def signed_examples() -> dict[str, Example]:
    """Whatever a signature covers, once."""
    registration = encode(REGISTRATION)
    return {
        "envelope": signed_example("operator", tags.TRANSACTION, encode(TRANSFER)),
        "registration": signed_example("node", tags.REGISTRATION, registration),
        "duty key": signed_example("duty", tags.DUTY_KEY, registration),
        "list key": signed_example("list", tags.LIST_KEY, registration),
        "consensus key": signed_example("consensus", tags.CONSENSUS_KEY, registration),
        "contact": signed_example("node", tags.CONTACT, encode(UPDATE)),
    }


def example_transactions() -> dict[str, bytes]:
    """The examples as they are sent."""
    signature = {name: one.signature for name, one in signed_examples().items()}
    register: Envelope[Register] = Envelope(
        VERSION,
        2,
        KEYS["operator"],
        nonce=1,
        fee=1_000,
        expiry=100,
        body=Register(
            registration=REGISTRATION,
            node_signature=signature["registration"],
            duty_signature=signature["duty key"],
            list_signature=signature["list key"],
            consensus_signature=signature["consensus key"],
            stake=75 * COIN,
        ),
    )
    by_operator = signed_example("operator", tags.TRANSACTION, encode(register)).signature
    update = UpdateContact(UPDATE, signature["contact"])
    return {
        "transfer": encode(Paid(TRANSFER, signature["envelope"])),
        "register": encode(Paid(register, by_operator)),
        "update_contact": encode(Free(VERSION, 5, update)),
    }


class ExampleChain(NamedTuple):
    """The chain of the examples up to its first block, which carries all of them."""

    genesis_root: Hash
    block: Block
    seal: Example


@cache
def example_chain() -> ExampleChain:
    """Execute the transactions of the examples in one block."""
    chain = Chain(MemoryStore(), GENESIS)
    chain.init()
    genesis_root = chain.tip.root
    transactions = tuple(example_transactions().values())
    given = BlockInput(1, START_MS + SECOND, KEYS["producer"], (), transactions)
    run(chain.validate(given))
    run(chain.finalize(given))
    seal = signed_example("producer", tags.BLOCK, encode(chain.header()))
    return ExampleChain(genesis_root, chain.commit(seal.signature), seal)


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
            for name, one in {**signed_examples(), "block": example_chain().seal}.items()
        },
        "transactions": {
            name: {"bytes": raw.hex(), "hash": sha256(raw).hex()}
            for name, raw in example_transactions().items()
        },
        "block": {
            "bytes": encode(example_chain().block).hex(),
            "hash": block_hash(example_chain().block.header).hex(),
            "state_root": example_chain().block.header.state_root.hex(),
        },
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
    one = example_chain().seal if name == "block" else signed_examples()[name]
    key = ("key", KEYS[one.signer])
    return quote(("message", one.message), key, ("signature", one.signature))


def quote_transaction(name: str) -> str:
    """A transaction as it is sent."""
    raw = example_transactions()[name]
    return quote((name, raw), ("its hash", sha256(raw)))


def quote_genesis() -> str:
    """The genesis file of the examples."""
    root = ("state root", example_chain().genesis_root)
    return quote(("genesis file", GENESIS), ("its hash", sha256(GENESIS)), root)


def quote_block() -> str:
    """The header of the block of the examples, and its hash."""
    header = example_chain().block.header
    roots = (("inputs", header.inputs), ("state root", header.state_root))
    return quote(("header", encode(header)), *roots, ("block hash", block_hash(header)))
