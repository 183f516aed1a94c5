"""Every function that reads bytes from outside, with bytes that it takes."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from ledger.chain import Chain
from ledger.codec import Record, encode
from ledger.genesis import load_genesis
from ledger.history import (
    ATTESTOR_SET,
    CHUNK,
    EPOCH_ROW,
    MANIFEST,
    PENALTY_ROW,
    RECOVERY_ROW,
    SWARM_ROW,
    TIP,
    VERDICT_ROW,
    AttestorSet,
    EpochRow,
    PenaltyRow,
    RecoveryRow,
    SwarmMove,
    SwarmRow,
    VerdictRow,
    iterate_chunks,
    make_manifest,
)
from ledger.merkle import SparseProof
from ledger.messages.blocks import BLOCK
from ledger.messages.challenges import (
    ANSWER,
    COOKIE,
    REQUEST,
    Challenge,
    answer_challenge,
    encode_challenge,
    encode_cookie,
)
from ledger.messages.checkins import SIGNED_CHECK_IN, CheckIn, SignedCheckIn
from ledger.messages.contact import Version
from ledger.messages.duty import Vote
from ledger.messages.evidence import MISBEHAVIOUR, Misbehaviour
from ledger.messages.genesis import GENESIS
from ledger.messages.lists import Attestor, decode_header
from ledger.messages.proofs import STATE_PROOF
from ledger.messages.state import (
    Absence,
    Due,
    Failing,
    Punished,
    Succession,
    Validator,
    Validators,
    Verdict,
)
from ledger.messages.tables import (
    ABSENCES,
    CONTACTS,
    EXITS,
    FAILING,
    NEW_KEYS,
    NODES,
    PAYOUTS,
    PUNISHED,
    SUCCESSION,
    TABLES,
    VALIDATORS,
    VERDICTS,
    Table,
)
from ledger.messages.transactions import VERSION as TX_VERSION
from ledger.messages.transactions import Report, Signer, Transfer
from ledger.offences import list_equivocation, vote_equivocation
from ledger.transactions import TX_KINDS, WIRE
from ledger.transactions.envelope import Transaction
from registry.agent.contact import KEPT_NODE, Kept
from registry.agent.votes import BATCH, Batch
from registry.client.checks import read_genesis
from registry.client.proofs import read_record
from registry.drafts import BadDraft, draft_paid, read_draft, write_draft
from registry.evidence import EVIDENCE_FILE, check_evidence
from registry.history_file import BadHistoryFile, HistoryFile, write_history
from registry.inheritance import INHERITANCE_FILE, check_inheritance, make_inheritance
from registry.keystore import (
    MINIMUM,
    BadKeyFile,
    EncryptedKeyFile,
    open_key_file,
    parse_key_file,
    seal_key_file,
)
from registry.orders import ORDER_FILE, ORDERS, OrderFile, make_order, read_order, sign_order
from registry.watermarks import VERSION, Backup, BadBackup, Held, SignerRefuses
from tests.factory import QUARTER, Network, make_genesis, pair_of, public, replay
from tests.ledger.moving import announce, make_successor, move
from tests.ledger.scenes import SHORT
from tests.ledger.test_encodings import sample
from tests.life import OFFENCE, fork_evidence, vote_evidence
from tests.mutations.files import NETWORK as MARKS_OF
from tests.mutations.files import (
    PASSPHRASE,
    Folder,
    mark_of,
    read_mark,
    read_marks,
    sealed,
    write_insecure,
)
from tests.mutations.formats import LISTS
from tests.mutations.rows import Decoder, of_codec
from tests.registry.client.factory import NOW_MS

# ------------------------------------------------------------------------------ the ledger


def grown() -> Network:
    """A network with a record in most tables."""
    network = Network()
    network.block(network.register())
    network.end_epoch()
    network.block(
        network.register("node 2", "bob", QUARTER),
        network.register("node 3", "carol"),
        network.update_contact(),
    )
    return network


NETWORK: Final = grown()
READER: Final = NETWORK.view.reader
END: Final = NETWORK.chain.end_of(1)
assert END is not None
HEADER: Final = decode_header(END.newest_header().header)
CHALLENGE: Final = Challenge(public("node"), public("node 2"), bytes(range(32)), 300)


RARE: Final[dict[str, Record]] = {
    FAILING.meaning: Failing(2, 7),
    PUNISHED.meaning: Punished(1, 300, 2**40),
    VERDICTS.meaning: Verdict(1, 33),
    NEW_KEYS.meaning: WIRE.decode(sample("set_keys")).body.change,
    EXITS.meaning: Due(public("node")),
    PAYOUTS.meaning: Due(public("node")),
    SUCCESSION.meaning: Succession(bytes(32), 2**40, 300),
    VALIDATORS.meaning: Validators((Validator(bytes(32), 32 * b"\xff"),) * 2),
    ABSENCES.meaning: Absence(300),
}
"""A record of each table that a network without trouble leaves empty."""


def record_of(table: Table[Any]) -> bytes:
    """A record of a table of the state."""
    if table.meaning in RARE:
        return encode(RARE[table.meaning])
    after = bytes([table.letter[0] + 1])
    readers = (READER, Network().view.reader)  # a draft is there at first only
    return next(raw for reader in readers for _, raw in reader.items(table.letter, after))


LIST_KEY: Final = NETWORK.genesis.attestors[0].list_key
VOTES: Final = vote_evidence(NETWORK, "node")
FORK: Final = fork_evidence(NETWORK, LIST_KEY)


def proof_row(key: bytes) -> Decoder:
    """The row of a proof of the state."""
    raw = NETWORK.view.prove(key)[1].encode()
    return Decoder(raw, SparseProof.decode, encode=SparseProof.encode)


def encode_transaction(tx: Transaction) -> bytes:
    """The rule of the envelope, written down a second time."""
    head = (TX_VERSION, tx.kind.tag)
    if tx.kind.is_free:
        return encode((*head, tx.body))
    return encode(((*head, tx.sender, tx.nonce, tx.fee, tx.expiry, tx.body), tx.signature))


LEDGER: Final[dict[str, Decoder]] = {
    **{f"table {row.letter.decode()}": of_codec(record_of(row), row.codec) for row in TABLES},
    **{
        f"{kind.name} transaction": Decoder(
            sample(kind.name), WIRE.decode, what="transaction", encode=encode_transaction
        )
        for kind in TX_KINDS
    },
    "block": of_codec(encode(NETWORK.blocks[-1]), BLOCK),
    "challenge": of_codec(encode_challenge(CHALLENGE), REQUEST),
    "cookie for a challenge": of_codec(encode_cookie(CHALLENGE, bytes(range(16))), COOKIE),
    "answer to a challenge": of_codec(
        answer_challenge(NETWORK.hash, pair_of(public("node")), CHALLENGE, 2**40, Version(1, 0, 0)),
        ANSWER,
    ),
    "check-in": of_codec(
        encode(SignedCheckIn(CheckIn(public("node"), 2**40, Version(1, 0, 0), 33), bytes(64))),
        SIGNED_CHECK_IN,
    ),
    "record of a client": Decoder(
        encode(END.make_proof(b"n" + public("node"))),
        lambda raw: read_record(HEADER, NODES, public("node"), raw),
    ),
    "state proof": of_codec(encode(END.make_proof(b"n" + public("node"))), STATE_PROOF),
    "genesis": of_codec(encode(make_genesis()), GENESIS),
    "genesis of a ledger": Decoder(encode(make_genesis()), load_genesis, encode=encode),
    "genesis of a client": Decoder(encode(make_genesis()), read_genesis),
    "vote equivocation": of_codec(encode(VOTES), vote_equivocation.CODEC),
    "list equivocation": of_codec(encode(FORK), list_equivocation.CODEC),
    "misbehaviour": of_codec(encode(Misbehaviour(bytes(20), 300, 2**40)), MISBEHAVIOUR),
    "archived attestor set": of_codec(
        encode(AttestorSet((Attestor(public("attestor 0"), 1),))), ATTESTOR_SET
    ),
    "archived penalty": of_codec(
        encode(PenaltyRow(1, public("node"), 7, 2**40, 2**30)), PENALTY_ROW
    ),
    "archived verdict": of_codec(
        encode(VerdictRow(1, ((public("a"), 33),), (public("b"),))), VERDICT_ROW
    ),
    "archived end": of_codec(encode(EpochRow(300, 2**40, 2**20, 7, 2**50, 2**30)), EPOCH_ROW),
    "archived swarms": of_codec(
        encode(SwarmRow((SwarmMove(public("a"), 2**64 - 1, 2**60),))), SWARM_ROW
    ),
    "archived recovery": of_codec(
        encode(RecoveryRow(bytes(32), bytes(32), (Signer(public("a"), bytes(64)),))), RECOVERY_ROW
    ),
    "tip": of_codec(encode(NETWORK.chain.tip), TIP),
    "snapshot manifest": of_codec(encode(make_manifest(END.reader)), MANIFEST),
    "snapshot chunk": of_codec(next(iterate_chunks(READER)), CHUNK),
    "sparse proof": proof_row(b"r"),
    "proof of absence": proof_row(b"?"),
}

# ------------------------------------------------------------------------------- the files

HELD: Final = Held(VERSION, MARKS_OF, mark_of(7), 0)
BACKUP: Final = Backup(VERSION, MARKS_OF, (mark_of(7),))
KEY_FILE: Final = seal_key_file(bytes(32), PASSPHRASE, MINIMUM, bytes(16), bytes(24))


EVIDENCE: Final = encode(Report(OFFENCE["list_equivocation"], encode(FORK)))


def order_of(kind: str) -> OrderFile:
    """An order file that one attestor has signed."""
    order = WIRE.decode(sample(kind)).body
    return sign_order(make_order(NETWORK.hash, order), pair_of(LIST_KEY))


SIGNED: Final = order_of("set_params")

PAYMENT: Final = Transfer(public("bob"), 5)
KEPT: Final = Kept(
    1,
    NETWORK.hash,
    public("node"),
    NETWORK.state.one(NODES, public("node")),
    NETWORK.state.one(CONTACTS, public("node")),
)
BALLOT: Final = Batch(
    1, NETWORK.hash, public("alice"), 7, (Vote(7, b"\1" * 32, 1, 0), Vote(7, b"\2" * 32, 2, 5))
)
DRAFT: Final = draft_paid("test-net", NETWORK.hash, public("alice"), (0, 1, 9), PAYMENT)
"""One that nobody has signed."""


def order_row(kind: str) -> Decoder:
    """The row of an order inside its file."""
    file = order_of(kind)
    return of_codec(file.order, ORDERS[file.kind].codec)


def leave() -> tuple[bytes, bytes]:
    """What a network leaves, and the genesis file of the one that begins with it."""
    network = Network(**SHORT)
    successor = make_successor(network)
    announce(network, successor)
    move(network, successor)
    end = replay(network.raw, network.blocks)
    network.end_epoch()
    return make_inheritance(network.chain, end.view().reader), encode(successor)


LEFT, FOLLOWING = leave()


def begin_with(raw: bytes) -> Chain:
    """Begin the network that follows."""
    return check_inheritance(raw, FOLLOWING, NOW_MS)


def open_cheap(raw: bytes) -> bytes:
    """Open a key file. One may ask for a gigabyte and a minute: that is not done here."""
    file = parse_key_file(raw)
    if isinstance(file, EncryptedKeyFile) and file.cost != MINIMUM:
        raise BadKeyFile("it costs too much to try")
    return open_key_file(raw, PASSPHRASE)


def resealed(tag: bytes, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """Read the record of a file whose checksum fits."""
    folder = Folder(read)
    return lambda raw: folder.read(sealed(tag, raw))


def write_whole() -> bytes:
    """The history of the network, as one file."""
    stream = BytesIO()
    write_history(stream, NETWORK.raw, map(encode, NETWORK.blocks))
    return stream.getvalue()


def read_whole(raw: bytes) -> list[bytes]:
    """Read a history to its end."""
    return list(HistoryFile("it", BytesIO(raw)).blocks())


FILES: Final[dict[str, Decoder]] = {
    "watermark": Decoder(
        sealed(b"waypost watermark", encode(HELD)), Folder(read_mark).read, SignerRefuses
    ),
    "record of a watermark": Decoder(
        encode(HELD), resealed(b"waypost watermark", read_mark), SignerRefuses, "watermark"
    ),
    "backup": Decoder(
        sealed(b"waypost watermarks", encode(BACKUP)), Folder(read_marks).read, BadBackup
    ),
    "record of a backup": Decoder(
        *(encode(BACKUP), resealed(b"waypost watermarks", read_marks), BadBackup),
        "backup of watermarks",
    ),
    "evidence": Decoder(
        EVIDENCE,
        lambda raw: check_evidence(raw, NETWORK.hash),
        encode=lambda proven: encode(proven.report),
    ),
    "evidence file": of_codec(EVIDENCE, EVIDENCE_FILE),
    "signed order": Decoder(encode(SIGNED), read_order, encode=encode),
    "order file": of_codec(encode(SIGNED), ORDER_FILE),
    "order of attestors": order_row("set_attestors"),
    "order of parameters": order_row("set_params"),
    "order of a successor": order_row("set_successor"),
    "inheritance": of_codec(LEFT, INHERITANCE_FILE),
    "inheritance of a network": Decoder(LEFT, lambda raw: begin_with(raw).tip),
    "history": Decoder(write_whole(), read_whole, BadHistoryFile),
    "batch of votes": of_codec(encode(BALLOT), BATCH),
    "kept node": of_codec(encode(KEPT), KEPT_NODE),
    "draft": Decoder(write_draft(DRAFT), read_draft, BadDraft, encode=write_draft),
    "key file": Decoder(KEY_FILE, open_cheap, BadKeyFile),
    "insecure key file": Decoder(
        write_insecure(bytes(32)), open_key_file, BadKeyFile, encode=write_insecure
    ),
}

DECODERS: Final[dict[str, Decoder]] = {**LEDGER, **LISTS, **FILES}
