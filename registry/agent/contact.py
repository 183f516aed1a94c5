"""The node's own contact data: what the settings say of it comes into the ledger.

- What was proven last is kept in the home, so that an agent that reaches no service after a restart
  is still found. A file is SHA-256 of the record ‖ record.
- What the settings leave out stays as the ledger has it; without any of them nothing is ever sent.
- What is in force, and the sequence number, are proven. A service's word for the number would let
  it use up all that there are, so the next few after the proven one are tried, and no others.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from ledger.codec import U8, Bytes32, Codec, Record, encode
from ledger.errors import Refusal
from ledger.messages.contact import Contact, Version
from ledger.messages.state import GONE, KeyHistory, Node
from ledger.messages.tables import CONTACTS, HISTORIES
from ledger.types import Hash, Key
from registry.agent.ledger import Ledger
from registry.agent.networks import unpack
from registry.agent.settings import AgentSettings, parse_version
from registry.client.services import ServiceRefused, Services
from registry.files import add_checksum, strip_checksum, write_atomically
from registry.wallet import sign_contact

log = structlog.get_logger()

SEQUENCES: Final = 3
"""Numbers after the proven one: two changes that came in this epoch, and ours."""

MAX_REPLY_BYTES: Final = 2**14

KEPT: Final = "own"
"""Name of the file in a home with what was proven last of the node."""

KEPT_VERSION: Final = 1
MAX_KEPT_BYTES: Final = 2**17

NUMBER_USED: Final = "contact_sequence"
TAKEN: Final = ("pending", "committed")


class Renewal(NamedTuple):
    """How the contact data stands."""

    in_force: Contact | None
    """As proven; None for a node that is not registered."""
    wanted: Contact | None
    """As the settings have it."""
    why: str = ""
    """What is being done, or why it does not work; nothing if there is nothing to do."""


class Kept(Record, frozen=True):
    """What was proven last of the agent's own node."""

    version: U8
    """`KEPT_VERSION`."""
    network: Bytes32
    """Hash of the genesis file."""
    key: Bytes32
    """The node."""
    node: Node
    contact: Contact


KEPT_NODE: Final[Codec[Kept]] = Codec(Kept, "kept node", MAX_KEPT_BYTES)


class _Row(msgspec.Struct):
    state: str
    code: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Row]


def compute_wanted(settings: AgentSettings, in_force: Contact | None) -> Contact | None:
    """Return the contact data as the settings have it; None where they do not say enough."""
    given: dict[str, int | bytes | Version] = {
        name: value
        for name, value in (
            ("ipv4", _pack(settings.ipv4)),
            ("ipv6", _pack(settings.ipv6)),
            ("storage_port", settings.storage_port),
            ("router_port", settings.router_port),
            ("storage_version", _read(settings.storage_version)),
            ("router_version", _read(settings.router_version)),
        )
        if value is not None
    }
    if in_force is not None:
        return replace(in_force, **given)
    whole: dict[str, Any] = {"ipv4": b"", "ipv6": b""} | given
    return Contact(**whole) if len(whole) == len(Contact.__struct_fields__) else None


def _pack(address: Any) -> bytes | None:
    return None if address is None else address.packed


def _read(text: str | None) -> Version | None:
    return None if text is None else parse_version(text)


async def renew(
    ledger: Ledger,
    services: Services,
    settings: AgentSettings,
    seed: bytes,
    key: Key,
    node: Node | None,
) -> Renewal:
    """Send the node's contact data if the settings have other than the ledger. Raises `Unproven`.

    `node` is its record, as proven. What was sent is sent again by the next call, to no effect,
    until it is in force.
    """
    if node is None or node.state in GONE:
        return Renewal(None, compute_wanted(settings, None), "the node is not registered")
    in_force = await ledger.prove(CONTACTS, key)
    wanted = compute_wanted(settings, in_force)
    if wanted is None or wanted == in_force:
        return Renewal(in_force, wanted)
    history = await ledger.prove(HISTORIES, key) or KeyHistory(0, 0, 0)
    why = ""
    for sequence in range(history.sequence + 1, history.sequence + 1 + SEQUENCES):
        raw = sign_contact(ledger.genesis_hash, seed, node.life, sequence, wanted)
        codes = await _send(services, raw)
        if not codes:
            log.info("contact sent", epoch=ledger.running, sequence=sequence)
            return Renewal(in_force, wanted, "sent: in force from the epoch's end on")
        why = "; ".join(f"{url}: {code}" for url, code in codes.items())
        if NUMBER_USED not in codes.values():
            break
    log.warning("contact not taken", epoch=ledger.running, reason=why)
    return Renewal(in_force, wanted, f"not taken: {why}")


async def _send(services: Services, raw: bytes) -> dict[str, str]:
    """Send a transaction to every service; return why none took it, nothing if one did."""
    answers = await services.post_to_all(
        "/v1/transactions", {"transaction": raw.hex()}, MAX_REPLY_BYTES
    )
    codes: dict[str, str] = {}
    for url, answer in answers.items():
        try:
            if isinstance(answer, ServiceRefused):
                codes[url] = answer.code
            elif isinstance(answer, Exception):
                codes[url] = str(answer)
            else:
                (row,) = msgspec.convert(answer, _Answer).results
                codes[url] = "" if row.state in TAKEN else row.code or row.state
        except (msgspec.ValidationError, ValueError):
            codes[url] = "it answers with something else"
    return {} if "" in codes.values() else codes


def keep(home: Path, network: Hash, key: Key, node: Node, contact: Contact) -> None:
    """Have the home know what was proven. A file that cannot be written stops nothing."""
    kept = Kept(KEPT_VERSION, network, key, node, contact)
    try:
        write_atomically(home / KEPT, add_checksum(encode(kept)), mode=0o600)
    except OSError as error:
        log.warning("contact not kept", reason=str(error))


def load_kept(home: Path, network: Hash, key: Key) -> Kept | None:
    """Return what was proven last; None if nothing of it is there, whole, and this node's."""
    try:
        with (home / KEPT).open("rb") as file:
            data = file.read(MAX_KEPT_BYTES + 33)
        raw = strip_checksum(data)
        if raw is None:
            raise ValueError("it is damaged")
        kept = KEPT_NODE.decode(raw)
        if (kept.version, kept.network, kept.key) != (KEPT_VERSION, network, key):
            raise ValueError("it is of another node, network or version")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, Refusal) as error:
        log.warning("what was kept is not read", file=str(home / KEPT), reason=str(error))
        return None
    return kept


def describe(contact: Contact | None) -> dict[str, Any] | None:
    """Return contact data as people read it."""
    if contact is None:
        return None
    return {
        "ipv4": str(unpack(contact.ipv4)) if contact.ipv4 else None,
        "ipv6": str(unpack(contact.ipv6)) if contact.ipv6 else None,
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": _show(contact.storage_version),
        "router_version": _show(contact.router_version),
    }


def _show(version: Version) -> str:
    return f"{version.major}.{version.minor}.{version.patch}"
