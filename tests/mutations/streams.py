"""Decoders of what may go on or be cut off, or be said in more than one way.

A stream waits for its rest, JSON allows space round it, and what a list ends with may be another
number of the same. So nothing here is held to refuse every byte more or less, as `decoders` is; all
of it is fuzzed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import msgspec

from ledger.crypto import key_pair
from registry import ipc
from registry.addresses import decode_account, decode_node, encode_account, encode_node
from registry.agent.assignment import _read_named
from registry.amounts import parse_amount
from registry.api import transactions, verdicts
from registry.api.answers import JSON, MSGPACK, _read_field, decode_cursor, encode_cursor
from registry.api.json_rpc import answer_call
from registry.api.limits import Limits
from registry.api.problems import ProblemError, make_problem
from registry.api.ranges import read_range
from registry.cli.http import BadAnswer, _read_object
from registry.client.services import _read_events, _read_failure, _read_json
from registry.client.transport import Unavailable
from registry.cometbft.genesis import VOTING_POWER, chain_id
from registry.cometbft.headers import SignedBlock, is_agreed
from registry.cometbft.keys import BadNodeKey, encode_consensus_key, read_node_id
from registry.cometbft.output import find_failure
from registry.cometbft.votes import NOTHING, ValidatorRefuses, read_height
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.server import Frames, Malformed, _parse, frame
from registry.engines.comet.translate import AppState, WrongNetwork, check_init_chain, read_block
from registry.engines.follow import UNREADABLE, BadSource, _open, _read_answers
from registry.formats.bundle import decode_bundle, encode_bundle
from registry.formats.fingerprint import fingerprint_of
from registry.formats.slice import decode_slice, encode_slice
from registry.importing import BadOperators, read_operators
from registry.ipc import Busy, Lost
from registry.manifest import Manifest, decode_manifest
from registry.metrics import WebMetrics
from registry.oxenmq import commands
from registry.oxenmq.snapshot import Wanted
from registry.oxenmq.upstream import BadCall
from registry.settings import CONFIG, BadSettings, ClientLimits, load_settings
from registry.warnings.memory import BadMemory, Keeper
from registry.words import BadWords, read_words, write_words
from tests.factory import make_genesis, public
from tests.mutations.files import Folder
from tests.mutations.formats import BUNDLE
from tests.mutations.rows import Decoder
from tests.mutations.zeromq import ZEROMQ
from tests.registry.cometbft.test_trust import COMMIT, FOURTH, VALIDATOR
from tests.registry.formats.test_slice import GOOD

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine gives that has all that it waits for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        coroutine.close()
    raise AssertionError("it waits for more")


def as_text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Read what somebody writes, whatever it is: the bytes in their own letters."""
    return lambda raw: read(raw.decode("utf-8", "replace"))


# ---- Streams ----


def feed_frames(raw: bytes) -> list[bytes]:
    """Feed frames to a socket, whole and in two pieces."""
    whole, pieces, cut = Frames(), Frames(), len(raw) // 2
    found = list(whole.feed(raw))
    assert found == [*pieces.feed(raw[:cut]), *pieces.feed(raw[cut:])]
    return found


LOOP: Final = asyncio.new_event_loop()


def read_frame(raw: bytes) -> Any:
    """Feed a frame to a process of the service."""
    reader = asyncio.StreamReader(loop=LOOP)
    reader.feed_data(raw)
    reader.feed_eof()
    return run(ipc.read_frame(reader))


def read_events(raw: bytes) -> list[Any]:
    """Feed a stream of events to a client, whole and in two pieces."""

    def read(*pieces: bytes) -> list[Any]:
        async def stream() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        async def collect() -> list[Any]:
            return [each async for each in _read_events(response)]

        response: Any = SimpleNamespace(aiter_raw=stream)
        return run(collect())

    found = read(raw)
    assert found == read(raw[: len(raw) // 2], raw[len(raw) // 2 :])
    return found


# ---- CometBFT ----

GENESIS: Final = make_genesis()
BLOCK: Final = abci.Request(
    finalize_block=abci.RequestFinalizeBlock(
        txs=[b"one", b"another"],
        misbehavior=[abci.Misbehavior(validator=abci.Validator(address=bytes(20)))],
        hash=bytes(32),
        height=7,
        time=abci.Timestamp(seconds=1_700_000_000, nanos=5),
        proposer_address=bytes(20),
    )
)
START: Final = abci.Request(
    init_chain=abci.RequestInitChain(
        chain_id=chain_id(GENESIS.name, bytes(32)),
        validators=[
            abci.ValidatorUpdate(
                pub_key=abci.PublicKey(ed25519=row.consensus_key), power=VOTING_POWER
            )
            for row in GENESIS.attestors
        ],
        app_state_bytes=msgspec.json.encode(AppState(bytes(32).hex())),
        initial_height=1,
        time=abci.Timestamp(seconds=GENESIS.start_ms // 1_000),
    )
)


def read_request(raw: bytes) -> Any:
    """Read a request of CometBFT, and what it asks where that is more than its fields."""
    request = _parse(raw)
    if request.WhichOneof("value") == "finalize_block":
        return read_block(request.finalize_block, 1_700_000_000_000)
    if request.WhichOneof("value") == "init_chain":
        check_init_chain(request.init_chain, GENESIS, bytes(32))
    return request


def read_signed_block(raw: bytes) -> bool:
    """Read a block that a CometBFT shows, and count its votes."""
    return is_agreed(msgspec.json.decode(raw, type=SignedBlock), [VALIDATOR])


SIGNED_BLOCK: Final = msgspec.json.encode({"header": FOURTH, "commit": COMMIT})

# ---- What services are asked ----


def answered(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Read the body of a request; what is wrong with it has to come to an answer too."""

    def reads(raw: bytes) -> Any:
        try:
            return read(raw)
        except ProblemError as error:
            make_problem(error.code, error.values).response()
            raise

    return reads


class Nobody:
    """A service that answers nothing."""

    def __getattr__(self, name: str) -> Any:
        raise Busy(name)


def call(raw: bytes) -> Any:
    """Call a method by JSON-RPC: the answer is JSON, whatever of the call comes back in it."""
    nobody: Any = Nobody()
    try:
        answer = b"".join(run(answer_call(nobody, raw)))
    except Busy:
        return None
    try:
        # an id may be a number that no float has room for
        return json.loads(answer, parse_int=str, parse_float=str)
    except RecursionError:
        return answer


def of_oxenmq(raw: bytes, form: type[msgspec.Struct]) -> Decoder:
    """The row of the body of a command; what is wrong with it has to come to an answer too."""

    def read(body: bytes) -> Any:
        try:
            return commands._parse(body, form)
        except BadCall as error:
            str(error).encode()
            raise

    return Decoder(raw, read, BadCall)


def of_body(module: Any, media: str, raw: bytes) -> Decoder:
    """The row of a body in one of its forms."""
    return Decoder(raw, answered(lambda body: module._parse(media, body)), ProblemError)


LIMITS: Final = Limits(ClientLimits(), WebMetrics())


def find_client(forwarded: bytes) -> Any:
    """Read for whom a proxy asks that is trusted."""
    scope = {"client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", forwarded)]}
    return LIMITS.find_client(scope)


VOTE: Final = (7, public("node"), 1, 0, public("node 2"), bytes(64))
FIELD: Final = (ProblemError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the field of a body is refused with, before it is told in other words."""

ASKED: Final[dict[str, Decoder]] = {
    "transactions in JSON": of_body(transactions, JSON, b'{"transactions":["9296c0","00"]}'),
    "transactions in MessagePack": of_body(
        transactions, MSGPACK, msgspec.msgpack.encode([b"one", b"another"])
    ),
    "votes in JSON": of_body(
        verdicts,
        JSON,
        msgspec.json.encode({"votes": [verdicts.EXAMPLE | {"signature": "0" * 128}]}),
    ),
    "votes in MessagePack": of_body(verdicts, MSGPACK, msgspec.msgpack.encode([VOTE])),
    "field of a body": Decoder(
        b'{"evidence":"00ff"}', answered(lambda raw: _read_field(raw, "evidence")), FIELD
    ),
    "call by JSON-RPC": Decoder(
        b'{"method":"get_service_nodes","params":{"fields":{"height":true}},"id":"0"}', call, ()
    ),
    "question for nodes": of_oxenmq(
        b'{"active_only":true,"limit":0,"fields":["height"],"service_node_pubkeys":[]}',
        Wanted,
    ),
    "question for blocks": of_oxenmq(b'{"heights":[1,2]}', commands._Heights),
    "ping": of_oxenmq(b'{"version":[2,8,0],"https_port":1,"omq_port":2}', commands._Ping),
    "report on a peer": of_oxenmq(
        b'{"type":"storage","pubkey":"%s","passed":true}' % (64 * b"a"), commands._Report
    ),
    "cursor": Decoder(
        encode_cursor(7, bytes(32)).encode(), answered(as_text(decode_cursor)), ProblemError
    ),
    "whom a proxy asks for": Decoder(b"203.0.113.7, 127.0.0.2", find_client, ()),
    "range": Decoder(b"bytes=0-9", lambda raw: read_range(raw, None, b'"tag"', 300), ()),
}

# ---- What services answer, and what lies on disk ----


def read_failure(raw: bytes) -> tuple[str, ...]:
    """Read the answer of a service that is no success."""
    response: Any = SimpleNamespace(status_code=503, headers={"retry-after": "1"})
    failure = _read_failure(response, raw)
    return type(failure).__name__, str(failure)


MANIFEST: Final = Manifest(1, "a-network", 64 * "a", 7, 6, 0, [])
WORDS: Final = " ".join(write_words(bytes(range(32))))

TOLD: Final[dict[str, Decoder]] = {
    "answer in JSON": Decoder(b'{"height":[7,null]}', _read_json, Unavailable),
    "failure": Decoder(b'{"type":"busy","detail":"later","values":{"a":1}}', read_failure, ()),
    "answer to the command line": Decoder(
        b'{"height":7}', lambda raw: _read_object("http://127.0.0.1", raw), BadAnswer
    ),
    "answer to a transaction": Decoder(
        msgspec.json.encode({"type": "nonce_used", "values": {"nonce": 1, "expected": 2}}),
        lambda raw: _read_answers([b"one"], _open(422, raw, 1)),
        (BadSource, *UNREADABLE),
    ),
    "duties": Decoder(
        b'{"tests":[{"node":"%s"}]}' % encode_node(public("node")).encode(),
        _read_named,
        (ValueError, RecursionError),
    ),
    "block of a CometBFT": Decoder(
        SIGNED_BLOCK, read_signed_block, (msgspec.MsgspecError, ValueError)
    ),
    "line of a CometBFT": Decoder(
        b'{"level":"error","message":"CONSENSUS FAILURE!!!","err":"\\"a"}\n', find_failure, ()
    ),
    "manifest": Decoder(msgspec.json.encode(MANIFEST), decode_manifest, msgspec.DecodeError),
    "map of operators": Decoder(
        msgspec.json.encode(
            {
                encode_node(public("node")): {
                    "operator": encode_account(public("alice")),
                    "duty_key": public("node 2").hex(),
                }
            }
        ),
        read_operators,
        BadOperators,
    ),
    "memory of warnings": Decoder(
        b'{"version":1,"told":[],"nodes":{},"queues":{"mail":{"messages":[],"dropped":1}}}',
        Folder(lambda path: Keeper(path).memory).read,
        BadMemory,
    ),
    "votes of a validator": Decoder(
        msgspec.json.encode(NOTHING), Folder(read_height).read, ValidatorRefuses
    ),
    "key of a node of CometBFT": Decoder(
        encode_consensus_key(key_pair(bytes(32))), Folder(read_node_id).read, BadNodeKey
    ),
}

# ---- What people write ----

WRITTEN: Final[dict[str, Decoder]] = {
    "settings": Decoder(
        b'port = 0\nfollow = ["http://127.0.0.1"]\n[limits]\nrate = 20\n',
        Folder(lambda path: load_settings(path.parent, {}), CONFIG).read,
        BadSettings,
    ),
    "account": Decoder(
        encode_account(public("alice")).encode(), as_text(decode_account), ValueError
    ),
    "node": Decoder(encode_node(public("node")).encode(), as_text(decode_node), ValueError),
    "amount": Decoder(b"12.000000001", as_text(parse_amount), ValueError),
    "words": Decoder(WORDS.encode(), as_text(read_words), BadWords),
    "fingerprint": Decoder(
        (" ".join(["abandon"] * 11) + " about").encode(),
        as_text(lambda text: fingerprint_of(text.split())),
        ValueError,
    ),
}

STREAMS: Final[dict[str, Decoder]] = {
    "frames of ABCI": Decoder(
        frame(BLOCK) + frame(START) + frame(abci.Request(flush=abci.RequestFlush())),
        feed_frames,
        Malformed,
    ),
    "block of ABCI": Decoder(BLOCK.SerializeToString(), read_request, (Malformed, WrongNetwork)),
    "start of ABCI": Decoder(START.SerializeToString(), read_request, (Malformed, WrongNetwork)),
    "frame between processes": Decoder(ipc.frame([1, "query", ["node", {}]]), read_frame, Lost),
    "message between processes": Decoder(
        ipc.encode([1, "query", ["node", {}]]),
        lambda raw: read_frame(len(raw).to_bytes(4, "big") + raw),
        Lost,
    ),
    "events": Decoder(
        b'event: block\ndata: {"height":8640}\nid: 8640\n\ndata: 1\r\n\r\n',
        read_events,
        (Unavailable, UnicodeError),
    ),
    "slice": Decoder(encode_slice(GOOD), decode_slice, encode=encode_slice),
    "bundle": Decoder(BUNDLE, decode_bundle, encode=encode_bundle),
    **ASKED,
    **TOLD,
    **WRITTEN,
    **ZEROMQ,
}
