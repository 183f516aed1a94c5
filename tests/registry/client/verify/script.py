"""Scripts of what a client is given and what it answers, for verifiers in any language to run.

    Step            one call, and the code with which it is refused, if it is
    Case            steps from a genesis file on
    run             what a client in Python answers to each step

docs/vectors.md tells how a script looks in `tests/vectors/verify.json`.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeAlias

from ledger.errors import Refusal
from ledger.messages.entries import Entry
from ledger.messages.lists import ListHeader
from registry.client import TrustedLists
from tests.registry.client.factory import NOW_MS


class Repeat(NamedTuple):
    """Bytes that repeat, between others: what is too long to be written out."""

    head: bytes
    piece: bytes
    times: int
    tail: bytes = b""

    def to_bytes(self) -> bytes:
        """All of them."""
        return self.head + self.piece * self.times + self.tail


Data: TypeAlias = bytes | Repeat
Value: TypeAlias = Data | Sequence[Data] | int | bool


class Step(NamedTuple):
    """One call."""

    do: str
    values: Mapping[str, Value]
    refused: str = ""

    def but(self, code: str) -> "Step":
        """The same, refused with a code."""
        return self._replace(refused=code)


Case: TypeAlias = Sequence[Step]
Cases: TypeAlias = Mapping[str, Case]
"""The cases of one class, by their titles."""


def start(genesis: Data, now_ms: int = NOW_MS, *, allow_expired: bool = False) -> Step:
    """Begin from a genesis file."""
    values: dict[str, Value] = {"genesis": genesis, "now_ms": now_ms}
    return Step("start", values | ({"allow_expired": True} if allow_expired else {}))


def at(now_ms: int) -> Step:
    """Go on at another time."""
    return Step("start_update", {"now_ms": now_ms})


def vouch(fingerprint: bytes) -> Step:
    """Name a header for which somebody vouches."""
    return Step("vouch", {"fingerprint": fingerprint})


def update(header: Data, path: Data = b"") -> Step:
    """Take a header, by a path."""
    return Step("update", {"header": header} | ({"path": path} if path else {}))


def learn_history(path: Data) -> Step:
    """Learn what is before the header that is held."""
    return Step("learn_history", {"path": path})


def resume(anchor: Data) -> Step:
    """Go on from what was kept."""
    return Step("resume", {"anchor": anchor})


def succeed(genesis: Data) -> Step:
    """Go on with the network that follows."""
    return Step("succeed", {"genesis": genesis})


def load_full(file: Data) -> Step:
    """Take a whole list."""
    return Step("load_full", {"file": file})


def load_deltas(*files: Data) -> Step:
    """Take what leads to another list."""
    return Step("load_deltas", {"files": files})


def read_slice(file: Data, account: bytes, path: Data = b"") -> Step:
    """Read the swarm of an account."""
    values: dict[str, Value] = {"file": file, "account": account}
    return Step("read_slice", values | ({"path": path} if path else {}))


def swarm_of(account: bytes) -> Step:
    """Find the swarm of an account in the list."""
    return Step("swarm_of", {"account": account})


def entries() -> Step:
    """Read the list."""
    return Step("entries", {})


# ---- What a client answers ----

Answer: TypeAlias = dict[str, Any]


def describe(entry: Entry) -> Answer:
    """An entry as the file shows it."""
    contact = entry.contact
    storage, router = contact.storage_version, contact.router_version
    return {
        "key": entry.key.hex(),
        "ipv4": contact.ipv4.hex(),
        "ipv6": contact.ipv6.hex(),
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": [storage.major, storage.minor, storage.patch],
        "router_version": [router.major, router.minor, router.patch],
        "swarm_id": str(entry.swarm_id),
    }


def keys(found: Sequence[Entry]) -> Answer:
    """Nodes by their keys."""
    return {"nodes": [entry.key.hex() for entry in found]}


def held(client: TrustedLists | None) -> Answer | None:
    """What a client holds."""
    if client is None or client.is_empty:
        return None
    return {
        "epoch": client.header.epoch,
        "anchor": sha256(client.anchor_file).hexdigest()[:8],
        "list": client.list_epoch,
        "wants": client.needs_list,
        "forked": client.evidence is not None,
    }


class Reader:
    """A client that is given one step after another."""

    def __init__(self) -> None:
        self.client: TrustedLists | None = None

    def take(self, do: str, values: Mapping[str, Any]) -> Answer:
        """Carry one step out, and tell what came of it and what is held then."""
        try:
            answer = self._call(do, values)
        except Refusal as refusal:
            answer = {"refused": refusal.code}
        return answer | {"held": held(self.client)}

    def _call(self, do: str, values: Mapping[str, Any]) -> Answer:
        if do == "start":
            allow_expired = values.get("allow_expired", False)
            self.client = TrustedLists(
                values["genesis"], values["now_ms"], allow_expired=allow_expired
            )
            return {}
        assert self.client is not None
        return CALLS[do](self.client, values)


Call: TypeAlias = Callable[[TrustedLists, Mapping[str, Any]], Answer]


def _taken(client: TrustedLists, _: ListHeader) -> Answer:
    return {"status": str(client.status)}


def _done(call: Callable[..., None], *arguments: Any) -> Answer:
    call(*arguments)
    return {}


CALLS: Final[dict[str, Call]] = {
    "start_update": lambda client, v: _done(client.start_update, v["now_ms"]),
    "vouch": lambda client, v: _done(client.vouch, v["fingerprint"]),
    "update": lambda client, v: _taken(client, client.update(v["header"], v.get("path", b""))),
    "learn_history": lambda client, v: _done(client.learn_history, v["path"]),
    "resume": lambda client, v: _taken(client, client.resume(v["anchor"])),
    "succeed": lambda client, v: _done(client.succeed, v["genesis"]),
    "load_full": lambda client, v: _done(client.load_full, v["file"]),
    "load_deltas": lambda client, v: _done(client.load_deltas, *v["files"]),
    "read_slice": lambda client, v: keys(
        client.read_slice(v["file"], v["account"], v.get("path", b""))
    ),
    "swarm_of": lambda client, v: keys(client.swarm_of(v["account"])),
    "entries": lambda client, _: {"entries": [describe(entry) for entry in client.entries]},
}
"""How each step is carried out, once there is a client."""


def plain(value: Value) -> Any:
    """A value of a step, its bytes written out."""
    if isinstance(value, Repeat):
        return value.to_bytes()
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value


def run(case: Case) -> list[Answer]:
    """What the client in Python answers to each step."""
    reader = Reader()
    return [
        reader.take(step.do, {name: plain(value) for name, value in step.values.items()})
        for step in case
    ]
