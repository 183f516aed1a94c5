"""What is looked at before somebody signs, and by `waypost doctor` at any time after that.

- The service and the clock of this machine.
- What the ledger knows of a node's keys.
- Whether a node answers at its address: with the very probes of the agents that will test it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ledger.errors import Refusal
from registry.amounts import format_amount, format_duration, format_time
from registry.cli.findings import Finding, bad, doubt, ok

if TYPE_CHECKING:
    from ledger.messages.contact import Contact
    from ledger.messages.transactions import Register
    from ledger.params import Params
    from registry.cli.http import Service
    from registry.cli.sending import Target

CLOCK_OFF_MS: Final = 5 * 60_000
"""A clock that is further off fails what the ledger checks."""
CLOCK_DOUBT_MS: Final = 30_000
LATE_MS: Final = 60_000
LATE_BLOCKS: Final = 10
"""A chain without a block for longer than either of these stands still."""

PROBE_S: Final = 2.0
"""Seconds for each step of a probe."""


class Summary(msgspec.Struct):
    """Of the network's summary what checks work with."""

    chain: str
    genesis_hash: str
    engine: str
    height: int
    time_ms: int
    epoch: int
    epoch_ends_ms: int
    epoch_ms: int
    block_ms: int
    pool: str
    earning: int


class Moved(msgspec.Struct):
    """Of the rules whether the network goes on as another one."""

    has_moved: bool


class KnownNode(msgspec.Struct):
    """Of a node what a registration has to know."""

    state: str
    payout_ms: int | None


# --- the service --------------------------------------------------------------------------------


def ask_summary(service: "Service") -> Summary:
    """Return the network's summary. Raises `ServiceError`."""
    from registry.cli.http import convert

    return convert(service.get("/v1/network"), Summary)


def check_service(service: "Service", summary: Summary, now: int) -> list[Finding]:
    """Look whether a service answers, and whether its chain goes on."""
    from registry.cli.http import convert

    late_ms = now - summary.time_ms
    if convert(service.get("/v1/rules"), Moved).has_moved:
        return [bad("service", f"{summary.chain} goes on as another network", "ask one of that")]
    if late_ms > max(LATE_MS, LATE_BLOCKS * summary.block_ms):
        text = f"{service.url}: its newest block is {format_duration(late_ms)} old"
        return [doubt("service", text, "the network stands still, or this service is behind it")]
    return [ok("service", f"{service.url} answers, block {summary.height}")]


def check_network(summary: Summary, genesis: bytes | None, where: Path | None) -> list[Finding]:
    """Look whether a service is of the network that is meant."""
    from ledger.crypto import sha256

    text = f"{summary.chain}, genesis {summary.genesis_hash}"
    if genesis is None:
        todo = "compare the genesis hash with that of people you trust, or name --genesis FILE"
        return [doubt("network", f"{text}: only this service says so", todo)]
    if sha256(genesis).hex() != summary.genesis_hash:
        other = f"the service is of {text}, {where} is of {sha256(genesis).hex()}"
        return [bad("network", other, "name another service, or --genesis FILE of what you mean")]
    return [ok("network", f"{text}, as in {where}")]


def check_clock(ahead_ms: int | None) -> list[Finding]:
    """Compare this machine's clock with a service's."""
    if ahead_ms is None:
        return [doubt("clock", "the service does not tell the time", "compare it yourself")]
    off = abs(ahead_ms)
    text = f"it is {format_duration(off)} {'behind' if ahead_ms > 0 else 'ahead of'} the service's"
    todo = "set the clock of this machine: signatures and tests depend on it"
    if off > CLOCK_OFF_MS:
        return [bad("clock", text, todo)]
    if off > CLOCK_DOUBT_MS:
        return [doubt("clock", text, todo)]
    return [ok("clock", "as the service's")]


# --- the keys of a node -------------------------------------------------------------------------


def check_node_key(service: "Service", address: str) -> list[Finding]:
    """Look whether a node can begin a life."""
    from ledger.messages.tables import HISTORIES
    from registry.addresses import decode_node
    from registry.card import PAST
    from registry.cli.http import Refused, convert
    from registry.cli.registering import look_up

    answer = service.find(f"/v1/nodes/{address}")
    if answer is not None:
        known = convert(answer, KnownNode)
        todo = "use another key file for another node"
        if known.state in PAST and known.payout_ms is not None:
            todo = f"it can begin anew after its payout, from {format_time(known.payout_ms)} on"
        return [bad("node key", f"{address} is registered already: {known.state}", todo)]
    try:
        history = look_up(service, HISTORIES, decode_node(address))
    except Refused as refused:
        return [doubt("node key", f"whether it was used is not known: {refused.text}", "go on")]
    if history is not None and history.tombstoned:
        todo = "make a new key file: this one never returns"
        return [bad("node key", f"{address} was slashed for equivocating", todo)]
    life = 1 if history is None else history.life + 1
    return [ok("node key", f"{address} is free, this will be its life {life}")]


def check_bindings(service: "Service", node: bytes, keys: dict[str, bytes]) -> list[Finding]:
    """Look whether the keys of a node's roles are bound to something else; `keys` by role."""
    from ledger.messages.state import ROLES, Binding
    from ledger.messages.tables import BINDINGS
    from registry.cli.http import Refused
    from registry.cli.registering import look_up

    numbers = {name: number for number, name in ROLES.items()}
    findings: list[Finding] = []
    for role, key in keys.items():
        try:
            binding = look_up(service, BINDINGS, key)
        except Refused as refused:
            text = f"whether the {role} key is bound is not known: {refused.text}"
            return [*findings, doubt("role keys", text, "go on")]
        if binding not in (None, Binding(numbers[role], node)):
            text = f"the {role} key is bound to another node or role for ever"
            findings.append(bad("role keys", text, "make a new key file for this node"))
    return findings or [ok("role keys", f"{', '.join(keys)}: free for this node")]


# --- money --------------------------------------------------------------------------------------


def check_funds(balance: int, needed: int, account: str) -> list[Finding]:
    """Look whether an account can pay."""
    has = f"{account} has {format_amount(balance)}"
    if balance < needed:
        todo = f"send it {format_amount(needed - balance)} more, then answer again"
        return [bad("funds", f"{has}, it takes {format_amount(needed)}", todo)]
    return [ok("funds", f"{has}, it takes {format_amount(needed)}")]


def check_stake(body: "Register", params: "Params") -> list[Finding]:
    """Look whether the ledger would take stake and reserved places."""
    from ledger.transactions.stake import check_operator_stake

    try:
        check_operator_stake(body, params)
    except Refusal as refusal:
        return [bad("stake", refusal.text, "choose another stake, or other reserved places")]
    return [ok("stake", format_amount(body.stake))]


# --- the address --------------------------------------------------------------------------------


class Looked(NamedTuple):
    """Whom to look at."""

    genesis_hash: bytes
    epoch: int
    node: bytes
    duty_key: bytes
    contact: "Contact"


def check_contact(contact: "Contact", target: "Target") -> list[Finding]:
    """Look whether the ledger would take contact data."""
    from ledger.rules.contacts import check_contact as check_rules

    try:
        check_rules(contact, target.params)
    except Refusal as refusal:
        return [bad("address", refusal.text, "give an address that others reach")]
    return [ok("address", "one that others can route to")]


def check_reached(looked: Looked, wait_s: float = PROBE_S) -> list[Finding]:
    """Look at a node as its testers do, from this machine, at each of its addresses.

    What is found is a doubt: this machine need not see what others see.
    """
    import asyncio

    from ledger.messages.contact import Version
    from registry.agent.networks import unpack
    from registry.agent.probes import Prober, Target, look

    any_version = Version(0, 0, 0)
    prober = Prober(
        looked.genesis_hash, looked.node, looked.epoch, wait_s, any_version, any_version
    )
    target = Target(looked.node, 1, looked.duty_key, looked.contact)
    findings: list[Finding] = []
    for address in filter(None, (looked.contact.ipv4, looked.contact.ipv6)):
        seen = asyncio.run(look(prober, target, address))
        name = str(unpack(address))
        if seen is None:
            todo = "look at it from another machine"
            findings.append(doubt("reached", f"this machine has no way to {name}", todo))
        else:
            findings += _tell_probes(name, seen.findings)
    return findings


ADVICE: Final = {
    "challenge": "start `waypost agent` beside the node, and open the storage port for UDP too",
    "clock": "set the clock of the node's machine",
    "storage TCP": "start the storage server, and open its port",
    "storage HTTPS": "the storage server has to speak HTTPS on its port",
    "storage ping": "look into the storage server's log",
    "router TCP": "start the router, and open its port",
    "version": "update it",
}
"""What to do, by the row of `registry.agent.probes.PROBES` that finds fault."""


def _tell_probes(name: str, found: Sequence[Any]) -> list[Finding]:
    if not found:
        return [ok("reached", f"{name} answers everything that testers ask")]
    return [
        doubt("reached", f"{name}, {each.probe}: {each.why}", ADVICE[each.probe]) for each in found
    ]
