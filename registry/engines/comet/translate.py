"""What CometBFT's words are to the ledger, and the other way round.

Rules: docs/spec/comet.md. Numbers of refusals are results; the codes below stand beside them where
nothing of a block depends on the answer.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ledger.codec import encode
from ledger.errors import Fault, Refusal
from ledger.messages.blocks import BlockInput
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import Genesis
from ledger.types import Hash, Height, Key, TimeMs
from ledger.views import View
from registry.cometbft.genesis import APP_VERSION, VOTING_POWER, chain_id
from registry.engines.comet import abci_pb2 as abci

CODESPACE: Final = "waypost"
INITIAL_HEIGHT: Final = 1

# Above every number of a refusal, which has 16 bits.
BUSY: Final = 65_536
COMMITTED: Final = 65_537
UNKNOWN_QUERY: Final = 65_538
GONE: Final = 65_539

NAMES: Final = {BUSY: "busy", COMMITTED: "committed", UNKNOWN_QUERY: "unknown_query", GONE: "gone"}
"""Names of those codes, as refusals have theirs."""


class WrongNetwork(Fault):
    """CometBFT's genesis file does not belong to this network's."""


# ---------------------------------------------------------------------------------- genesis


class AppState(msgspec.Struct, forbid_unknown_fields=True):
    """What CometBFT's genesis file says of ours."""

    genesis: str
    """SHA-256 of our file, hexadecimal."""


def check_init_chain(request: abci.RequestInitChain, genesis: Genesis, genesis_hash: Hash) -> None:
    """Check that CometBFT begins with the network of our genesis file. Raises `WrongNetwork`."""
    try:
        named = msgspec.json.decode(request.app_state_bytes, type=AppState).genesis
    except (msgspec.MsgspecError, UnicodeDecodeError):
        named = "none"
    name = chain_id(genesis.name, genesis_hash)
    validators = sorted(row.consensus_key for row in genesis.attestors)
    powers = [row.power for row in request.validators]
    rules = [
        (request.chain_id == name, f"its chain_id is {request.chain_id}, not {name}"),
        (
            named == genesis_hash.hex(),
            f"its app_state names the genesis file {named}, not {genesis_hash.hex()}",
        ),
        (
            request.initial_height in (0, INITIAL_HEIGHT),
            f"its initial_height is {request.initial_height}, not {INITIAL_HEIGHT}",
        ),
        (
            sorted(row.pub_key.ed25519 for row in request.validators) == validators,
            "its validators are not the consensus keys of the attestors",
        ),
        (
            powers == [VOTING_POWER] * len(powers),
            f"a validator has another power than {VOTING_POWER}",
        ),
        (
            read_time_ms(request.time) == genesis.start_ms,
            f"its genesis_time is not the network's start, {genesis.start_ms} ms",
        ),
    ]
    for holds, why in rules:
        if not holds:
            raise WrongNetwork(
                f"CometBFT's genesis.json is not that of this network: {why}. "
                "Remove the folder cometbft of this home, and have it made anew"
            )


# ----------------------------------------------------------------------------------- blocks


def read_time_ms(time: abci.Timestamp) -> TimeMs:
    """Return a time of CometBFT's in whole milliseconds, rounded down."""
    milliseconds: int = time.seconds * 1_000 + time.nanos // 1_000_000
    return milliseconds


def read_misbehaviour(pieces: Iterable[abci.Misbehavior]) -> tuple[bytes, ...]:
    """Return CometBFT's evidence as the ledger takes it, in its order."""
    return tuple(
        encode(
            Misbehaviour(piece.validator.address, piece.height, max(0, read_time_ms(piece.time)))
        )
        for piece in pieces
    )


def read_block(
    request: abci.RequestProcessProposal | abci.RequestFinalizeBlock, tip_ms: TimeMs
) -> BlockInput:
    """Return the block that CometBFT speaks of, after one at `tip_ms`."""
    return BlockInput(
        request.height,
        compute_time_ms(request.time, tip_ms),
        request.proposer_address,
        read_misbehaviour(request.misbehavior),
        tuple(request.txs),
    )


def compute_time_ms(time: abci.Timestamp, tip_ms: TimeMs) -> TimeMs:
    """Return the block time of the ledger: CometBFT's, and above that of the block before."""
    return max(read_time_ms(time), tip_ms + 1)


def cut_to_fit(raws: Sequence[bytes], most: int) -> list[bytes]:
    """Return as many of the first transactions as take `most` bytes in CometBFT's block."""
    chosen: list[bytes] = []
    for raw in raws:
        # its field's tag, its length as a varint, and itself
        most -= 1 + max(1, -(-len(raw).bit_length() // 7)) + len(raw)
        if most < 0:
            break
        chosen.append(raw)
    return chosen


def make_updates(before: Sequence[Key], after: Sequence[Key]) -> list[abci.ValidatorUpdate]:
    """Return what makes one set of validators the other, by ascending key."""
    changed = sorted({*before} ^ {*after})
    return [
        abci.ValidatorUpdate(
            pub_key=abci.PublicKey(ed25519=key), power=VOTING_POWER if key in after else 0
        )
        for key in changed
    ]


# ---------------------------------------------------------------------------------- answers


def make_info(height: Height, root: Hash, version: str) -> abci.ResponseInfo:
    """Return what is said of what lasts; at height 0 CometBFT is to begin with its genesis."""
    return abci.ResponseInfo(
        data=CODESPACE,
        version=version,
        app_version=APP_VERSION,
        last_block_height=height,
        last_block_app_hash=root if height else b"",
    )


def check_answer(refusal: Refusal | None) -> abci.ResponseCheckTx:
    """Return the answer to a transaction that was checked."""
    if refusal is None:
        return abci.ResponseCheckTx()
    return abci.ResponseCheckTx(
        code=refusal.number, info=refusal.code, log=refusal.text, codespace=CODESPACE
    )


def busy_answer(text: str) -> abci.ResponseCheckTx:
    """Return the answer to a transaction that cannot be taken now."""
    return abci.ResponseCheckTx(code=BUSY, info=NAMES[BUSY], log=text, codespace=CODESPACE)


def committed_answer() -> abci.ResponseCheckTx:
    """Return the answer to a transaction that stands in a block, so that nobody keeps it."""
    return abci.ResponseCheckTx(
        code=COMMITTED, info=NAMES[COMMITTED], log="it stands in a block", codespace=CODESPACE
    )


def query_refused(code: int, text: str) -> abci.ResponseQuery:
    """Return the answer to a query that has none."""
    return abci.ResponseQuery(code=code, info=NAMES[code], log=text, codespace=CODESPACE)


def state_answer(view: View, key: bytes, is_proven: bool) -> abci.ResponseQuery:
    """Return what one height holds under a store key of the state, or that it holds nothing."""
    value, proof = view.prove(key)
    answer = abci.ResponseQuery(key=key, value=value or b"", height=view.tip.height)
    if value is None:
        answer.info = "none"
    if is_proven:
        proven = abci.ProofOp(type="waypost:state", key=key, data=proof.encode())
        answer.proof_ops.ops.append(proven)
    return answer
