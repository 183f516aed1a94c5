"""Every warning: one row each. One more is a row here and a function beside the others.

- A row is about a scope: each node, the network, each service, or this program.
- What is told once is not told again while it lasts, but where a reminder is due; within the quiet
  time nothing of the same row and subject is told again, so that what comes and goes tells little.
- When it is over that is told once, unless it got worse, which has a row of its own.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ledger.params import HOUR, MINUTE
from registry.warnings import on_nodes as node
from registry.warnings import on_services as other
from registry.warnings.cases import Case, Finding


class Scope(StrEnum):
    """What a warning is about."""

    NODE = "node"
    NETWORK = "network"
    SERVICE = "service"
    PROGRAM = "program"


class Severity(StrEnum):
    """How bad it is."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Row(NamedTuple):
    """One row of `WARNINGS`."""

    name: str
    """Stable; programs that read messages rely on it."""
    scope: Scope
    severity: Severity
    find: Callable[[Any], Finding | None]
    """Whether it is due, from a case of the scope."""
    tell_over: Callable[[Any], str]
    """What to say when it is over; empty to say nothing."""
    reminder_ms: int = 0
    """How long after it was told it is told again while it lasts; 0 means never."""
    quiet_ms: int = 0
    """How long after it was told nothing of it is told anew of the same subject."""
    is_state: bool = False
    """Whether it follows from the node's state alone, which can be proven."""


CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO
NODE, NETWORK, SERVICE, PROGRAM = Scope.NODE, Scope.NETWORK, Scope.SERVICE, Scope.PROGRAM
NOTHING: Final = node.tell_nothing

# fmt: off
WARNINGS: Final = (
    # what a node's tests lead to, step by step
    Row("failing", NODE, WARNING, node.find_failing, node.tell_passing),
    Row("decommission_due", NODE, CRITICAL, node.find_decommission, NOTHING),
    Row("decommissioned", NODE, CRITICAL, node.find_decommissioned, node.tell_back,
        reminder_ms=6 * HOUR, is_state=True),
    Row("half_credit_used", NODE, CRITICAL, node.find_half_credit, NOTHING),
    Row("last_hour", NODE, CRITICAL, node.find_last_hour, NOTHING),
    Row("deregistered", NODE, CRITICAL, node.find_deregistered, NOTHING, is_state=True),
    Row("wrong_address", NODE, CRITICAL, node.find_wrong_address, node.tell_found,
        quiet_ms=30 * MINUTE),
    Row("outdated_version", NODE, WARNING, node.find_outdated, node.tell_found,
        reminder_ms=24 * HOUR, quiet_ms=30 * MINUTE),
    # its own agent
    Row("agent_silent", NODE, CRITICAL, node.find_silent, node.tell_agent,
        reminder_ms=12 * HOUR, quiet_ms=10 * MINUTE),
    Row("agent_faults", NODE, WARNING, node.find_agent_faults, node.tell_agent,
        reminder_ms=24 * HOUR, quiet_ms=30 * MINUTE),
    # offences
    Row("slashed", NODE, CRITICAL, node.find_slashed, NOTHING),
    Row("tombstoned", NODE, CRITICAL, node.find_tombstoned, NOTHING),
    # leaving
    Row("leaving", NODE, INFO, node.find_leaving, NOTHING),
    Row("exited", NODE, INFO, node.find_exited, NOTHING, is_state=True),
    Row("paid_out", NODE, INFO, node.find_paid_out, NOTHING, is_state=True),
    Row("unknown_node", NODE, WARNING, node.find_unknown, node.tell_registered,
        quiet_ms=HOUR),
    # what is believed of it
    Row("services_disagree", NODE, WARNING, node.find_disputed, node.tell_agreed,
        quiet_ms=HOUR),
    Row("contradicted", NODE, CRITICAL, node.find_contradicted, node.tell_agreed,
        reminder_ms=6 * HOUR, quiet_ms=HOUR),
    # the network
    Row("list_not_final", NETWORK, WARNING, other.find_not_final, other.tell_final,
        reminder_ms=24 * HOUR, quiet_ms=30 * MINUTE),
    Row("list_not_fresh", NETWORK, CRITICAL, other.find_not_fresh, other.tell_final,
        reminder_ms=12 * HOUR, quiet_ms=30 * MINUTE),
    Row("new_version", NETWORK, WARNING, other.find_new_rules, NOTHING,
        reminder_ms=72 * HOUR),
    Row("parameters_change", NETWORK, INFO, other.find_parameters, NOTHING),
    Row("network_moves", NETWORK, WARNING, other.find_successor, NOTHING,
        reminder_ms=72 * HOUR),
    # services
    Row("service_unreachable", SERVICE, WARNING, other.find_unreachable, other.tell_answering,
        reminder_ms=24 * HOUR, quiet_ms=30 * MINUTE),
    Row("service_behind", SERVICE, WARNING, other.find_behind, other.tell_caught_up,
        reminder_ms=24 * HOUR, quiet_ms=30 * MINUTE),
    Row("other_network", SERVICE, CRITICAL, other.find_other_network, other.tell_answering,
        quiet_ms=HOUR),
    # this program
    Row("nothing_watched", PROGRAM, CRITICAL, other.find_blind, other.tell_watching,
        reminder_ms=6 * HOUR, quiet_ms=10 * MINUTE),
    Row("lists_refused", PROGRAM, CRITICAL, other.find_refused_lists, other.tell_lists,
        reminder_ms=24 * HOUR, quiet_ms=30 * MINUTE),
    Row("heartbeat", PROGRAM, INFO, other.find_heartbeat, NOTHING),
)
"""Every warning. A test holds `docs/operating/warnings.md` equal to the names and severities."""
# fmt: on

NAMES: Final = tuple(row.name for row in WARNINGS)
ROW_OF: Final = {row.name: row for row in WARNINGS}
NEWS: Final = ("heartbeat", "paid_out")
"""Rows that tell what happened, and not what has to be done: they do not count as due."""


def rows_of(case: Case) -> tuple[Row, ...]:
    """Return the rows on a case's scope."""
    scope = SCOPE_OF[type(case).__name__]
    return tuple(row for row in WARNINGS if row.scope is scope)


SCOPE_OF: Final = {
    "NodeCase": Scope.NODE,
    "NetworkCase": Scope.NETWORK,
    "ServiceCase": Scope.SERVICE,
    "ProgramCase": Scope.PROGRAM,
}
