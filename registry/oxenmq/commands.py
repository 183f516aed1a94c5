"""The commands: a table, and what each of them does.

- `rpc.` and `sub.` are for everybody who reaches the face, `admin.` for programs of this machine.
- Private keys leave the agent for nobody.
- Callbacks get what local programs report; what they raise is logged, and answered as an error.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum, auto
from functools import partial
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import structlog

from ledger.types import Key
from registry.client.services import Services
from registry.oxenmq import wire
from registry.oxenmq.allowance import Allowance, Peer
from registry.oxenmq.blocks import Subscribers, TooMany
from registry.oxenmq.rows import HexKey, Port, Triple
from registry.oxenmq.snapshot import Wanted
from registry.oxenmq.upstream import BadCall, Failed, Lists, Upstream

MAX_UNDER_WAY: Final = 64
"""Requests of one host that wait for a service at a time."""

MAX_ERROR_CHARACTERS: Final = 200

S = TypeVar("S", bound=msgspec.Struct)
Data: TypeAlias = tuple[bytes, ...]
"""Parts of an answer behind the tag."""

Work: TypeAlias = Callable[[], Coroutine[Any, Any, wire.Parts]]

encode = msgspec.json.Encoder().encode
log = structlog.get_logger()


class StoragePing(NamedTuple):
    """A storage server of this node says that it runs."""

    version: tuple[int, int, int]
    https_port: int
    """Where it listens, as the next one; 0 if it does not say."""
    omq_port: int


class RouterPing(NamedTuple):
    """A router of this node says that it runs."""

    version: tuple[int, int, int]
    error: str
    """What is wrong with it, in its own words; nothing if it is well."""


class PeerReport(NamedTuple):
    """A storage server or router of this node has tested another node."""

    kind: str
    """What was tested, such as `storage` or `srouter`."""
    node: Key
    passed: bool


def ignore(_report: Any) -> None:
    """Do nothing with a report."""


class Callbacks(NamedTuple):
    """What is done with reports of local programs; on the event loop, at once."""

    on_storage_ping: Callable[[StoragePing], None] = ignore
    on_router_ping: Callable[[RouterPing], None] = ignore
    on_peer_report: Callable[[PeerReport], None] = ignore


class Access(Enum):
    """Who may use a command."""

    ANYBODY = auto()
    LOCAL = auto()
    NOBODY = auto()


class Command(NamedTuple):
    """A row of `COMMANDS`."""

    access: Access
    answer: Callable[["Desk", Peer, bytes], Awaitable[Data]]
    """From the body to the parts behind the tag. Raises `BadCall` and `Failed`."""
    cost: int = 1
    """Units of an allowance."""


class Desk:
    """Answers messages, whatever they come over."""

    def __init__(
        self,
        services: Services,
        node_key: Key,
        lists: Lists,
        callbacks: Callbacks,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.upstream = Upstream(services, lists, monotonic)
        self.subscribers = Subscribers(monotonic)
        self.allowance = Allowance(monotonic)
        self.node_key = node_key
        self.callbacks = callbacks
        self.turn = asyncio.Lock()
        """Held by whoever makes a long answer."""
        self._under_way: Counter[str] = Counter()

    def take(self, peer: Peer, parts: wire.Parts) -> wire.Parts | Work | None:
        """Return the answer to a message, or what makes one; None if it gets none."""
        name = wire.read_command(parts)
        if name == b"HI":
            return wire.HELLO
        if not parts or name in wire.UNANSWERED:
            return None
        command = COMMANDS.get(name.decode("latin-1"))
        if command is None:
            return wire.refuse_unknown(name)
        if len(parts) == 1:
            return wire.refuse_untagged(name)
        tag = parts[1]
        if len(tag) > wire.MAX_TAG_BYTES:
            return None
        is_allowed = command.access is Access.ANYBODY or (
            command.access is Access.LOCAL and peer.is_local
        )
        if not is_allowed:
            return wire.forbid(tag)
        if len(parts) > 3:
            return wire.reply(tag, wire.BAD_REQUEST, b"send one part as the body")
        if command.cost > 1 and not self.allowance.take(peer.host, command.cost - 1):
            return wire.reply(tag, wire.FAILED, b"too much at once: ask again in a second")
        return partial(self._answer, command, peer, tag, parts[2] if len(parts) == 3 else b"")

    async def _answer(self, command: Command, peer: Peer, tag: bytes, body: bytes) -> wire.Parts:
        if self._under_way[peer.host] >= MAX_UNDER_WAY:
            return wire.reply(tag, wire.FAILED, b"too many at once: ask again in a second")
        self._under_way[peer.host] += 1
        try:
            return wire.reply(tag, *await command.answer(self, peer, body))
        except BadCall as error:
            return wire.reply(tag, wire.BAD_REQUEST, str(error).encode())
        except Failed as error:
            return wire.reply(tag, wire.FAILED, str(error).encode())
        except Exception:
            log.exception("a command failed")
            return wire.reply(tag, wire.FAILED, b"this failed: see the agent's log")
        finally:
            self._under_way[peer.host] -= 1
            if not self._under_way[peer.host]:
                del self._under_way[peer.host]


def _parse(body: bytes, form: type[S]) -> S:
    """Return what a body says; an empty one and null say nothing. Raises `BadCall`."""
    try:
        body.decode()
        return form() if body.strip() in (b"", b"null") else msgspec.json.decode(body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise BadCall(f"change the body: {error}") from None


# ---- rpc. ----


async def get_service_nodes(desk: Desk, peer: Peer, body: bytes) -> Data:
    """Nodes, with the parameters of the method of JSON-RPC."""
    wanted = _parse(body, Wanted)
    snapshot = await desk.upstream.take_snapshot(wanted.names)
    cost = snapshot.compute_cost(wanted)
    if cost and not desk.allowance.take(peer.host, cost):
        raise Failed("too much at once: ask again in a second")
    async with desk.turn:
        # of many answers at once each lets everything else of this process have its turn
        await asyncio.sleep(0)
        return wire.OK, snapshot.render(wanted)


class _Heights(msgspec.Struct):
    height: list[int] | int | None = None
    heights: list[int] | int | None = None


async def get_block_hash(desk: Desk, _peer: Peer, body: bytes) -> Data:
    """Hashes of blocks, with the parameters of the method of JSON-RPC."""
    asked = _parse(body, _Heights)
    params = {name: value for name, value in msgspec.structs.asdict(asked).items() if value}
    return wire.OK, encode(await desk.upstream.call("get_block_hash", params))


async def get_info(desk: Desk, _peer: Peer, _body: bytes) -> Data:
    """The network in a few numbers."""
    return wire.OK, encode(await desk.upstream.call("get_info", None))


# ---- sub. ----


async def subscribe_blocks(desk: Desk, peer: Peer, _body: bytes) -> Data:
    """Messages about new blocks, for half an hour."""
    try:
        is_new = desk.subscribers.add(peer)
    except TooMany:
        raise Failed("there are too many subscriptions") from None
    return (b"OK" if is_new else b"ALREADY",)


# ---- admin. ----


Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=2_000)]


class _Ping(msgspec.Struct):
    version: Triple = (0, 0, 0)
    pubkey_ed25519: HexKey | None = None
    https_port: Port = 0
    omq_port: Port = 0
    error: Text = ""


async def take_storage_ping(desk: Desk, _peer: Peer, body: bytes) -> Data:
    """The storage server runs."""
    ping = _parse(body, _Ping)
    status = _check_ping(desk, ping)
    if status == "OK":
        report = StoragePing(ping.version, ping.https_port, ping.omq_port)
        desk.callbacks.on_storage_ping(report)
    return _status(status)


async def take_router_ping(desk: Desk, _peer: Peer, body: bytes) -> Data:
    """The router runs, or says what is wrong with it."""
    ping = _parse(body, _Ping)
    status = _check_ping(desk, ping)
    if status == "OK":
        error = ping.error[:MAX_ERROR_CHARACTERS]
        desk.callbacks.on_router_ping(RouterPing(ping.version, error))
        status = f"Error: {error}" if error else status
    return _status(status)


def _check_ping(desk: Desk, ping: _Ping) -> str:
    """Return `OK`, or what is wrong with a ping."""
    if ping.version == (0, 0, 0):
        return "Invalid version: say which one runs"
    ours = desk.node_key.hex()
    if ping.pubkey_ed25519 not in (None, ours):
        return f"Invalid pubkey: this is the agent of {ours}"
    return "OK"


class _Report(msgspec.Struct):
    type: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,32}\Z")]
    pubkey: HexKey
    passed: bool


async def take_peer_report(desk: Desk, _peer: Peer, body: bytes) -> Data:
    """What a storage server or router found when it tested another node."""
    report = _parse(body, _Report)
    key = bytes.fromhex(report.pubkey)
    desk.callbacks.on_peer_report(PeerReport(report.type, key, report.passed))
    return _status("OK")


def _status(status: str) -> Data:
    return wire.OK, encode({"status": status})


async def never_answer(_desk: Desk, _peer: Peer, _body: bytes) -> Data:
    """Nobody gets this far."""
    raise Failed("nobody may use this")


COMMANDS: Final[dict[str, Command]] = {
    "rpc.get_service_nodes": Command(Access.ANYBODY, get_service_nodes),
    "rpc.get_block_hash": Command(Access.ANYBODY, get_block_hash, cost=10),
    "rpc.get_info": Command(Access.ANYBODY, get_info),
    "sub.block": Command(Access.ANYBODY, subscribe_blocks),
    "admin.storage_server_ping": Command(Access.LOCAL, take_storage_ping),
    "admin.session_router_ping": Command(Access.LOCAL, take_router_ping),
    "admin.report_peer_status": Command(Access.LOCAL, take_peer_report),
    "admin.get_service_node_privkey": Command(Access.NOBODY, never_answer),
    "admin.get_service_privkeys": Command(Access.NOBODY, never_answer),
}
"""Every command. None of what is here reads or writes a file."""
