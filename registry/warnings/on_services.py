"""When something has to be said of the network, of a service, or of this program itself.

Each function returns a `Finding` while its condition holds, else None.
"""

from typing import Final

from ledger.messages.lists import FORMAT_VERSION, RULES_VERSION
from registry.amounts import format_duration, format_time
from registry.warnings.cases import Finding, NetworkCase, ProgramCase, ServiceCase, behind_ms
from registry.warnings.facts import Failed

FORK: Final = "fork"


# ----------------------------------------------------------------------------------- the network


def find_not_final(case: NetworkCase) -> Finding | None:
    """For some epochs no list became final."""
    final, newest = case.network.latest_final, case.network.newest_header
    missing = newest.epoch - (-1 if final is None else final.epoch)
    if missing < case.list_epochs:
        return None
    left = None if final is None else max(0, final.valid_until_ms - case.now_ms)
    which = "none was yet" if final is None else f"the newest final one is of epoch {final.epoch}"
    return Finding(
        "",
        f"the lists of {missing} epochs are not final, {which}",
        "attestors: see that yours runs and signs; `waypost network participation` shows who does",
        left,
    )


def find_not_fresh(case: NetworkCase) -> Finding | None:
    """The newest final list is not fresh any more."""
    final = case.network.latest_final
    if final is None or case.now_ms <= final.fresh_until_ms:
        return None
    return Finding(
        "",
        f"the newest final list is of epoch {final.epoch} and fresh until "
        f"{format_time(final.fresh_until_ms)}; clients warn, and refuse it after that",
        "ask who runs the network; until lists are final again, rewards and tests may stand still",
        max(0, final.valid_until_ms - case.now_ms),
    )


def find_new_rules(case: NetworkCase) -> Finding | None:
    """The network has rules or a list format that this program does not know."""
    versions = case.versions
    ahead = [
        f"{name} {value}"
        for name, value, known in (
            ("rules", versions.rules_version, RULES_VERSION),
            ("list format", versions.format_version, FORMAT_VERSION),
            ("next list format", versions.next_format, FORMAT_VERSION),
        )
        if value > known
    ]
    if not ahead:
        return None
    return Finding(
        " ".join(ahead),
        f"the newest header has {', '.join(ahead)}, which this version does not know",
        "install the newer version of Waypost on the nodes, and here",
    )


def find_parameters(case: NetworkCase) -> Finding | None:
    """Other parameters are announced."""
    from_ms = case.rules.parameters_from_ms
    if from_ms is None:
        return None
    changes = ", ".join(
        f"{row.name} {row.value} becomes {row.next}"
        for row in case.rules.parameters
        if row.next is not None and row.next != row.value
    )
    return Finding(
        f"{from_ms}",
        f"from {format_time(from_ms)} on, at an epoch's end: {changes or 'nothing changes'}",
        "see whether that touches you; `waypost network rules` shows all of it",
        max(0, from_ms - case.now_ms),
    )


def find_successor(case: NetworkCase) -> Finding | None:
    """The network goes on as another one."""
    rules = case.rules
    if rules.successor is None or rules.successor_from_ms is None:
        return None
    return Finding(
        rules.successor,
        f"from {format_time(rules.successor_from_ms)} on the network goes on as another one, with "
        f"the genesis file {rules.successor}",
        "get that file from where you trust it, and be ready to run the node on it",
        max(0, rules.successor_from_ms - case.now_ms),
    )


# ----------------------------------------------------------------------------------- one service


def find_unreachable(case: ServiceCase) -> Finding | None:
    """It gives no answer of use, and has not for a while."""
    since = case.failing_from_ms
    if not isinstance(case.answer, Failed) or since is None:
        return None
    if case.now_ms - since < case.patience_ms:
        return None
    return Finding(
        f"{since}",
        f"no answer of use since {format_time(since)}: {case.answer.why}",
        "see that the service runs and can be reached from here, or name another one",
    )


def find_behind(case: ServiceCase) -> Finding | None:
    """Its newest block is old."""
    if isinstance(case.answer, Failed):
        return None
    network = case.answer.network
    late_ms = case.now_ms - network.time_ms
    if late_ms <= behind_ms(network) + case.patience_ms:
        return None
    is_alone = case.newest_ms > network.time_ms + behind_ms(network)
    who = "others are ahead" if is_alone else "no service has a newer one"
    return Finding(
        "",
        f"its newest block, {network.height}, is {format_duration(late_ms)} old, and {who}",
        "see that it follows its network; or the network has stopped; or the clock here is wrong",
    )


def find_other_network(case: ServiceCase) -> Finding | None:
    """It serves another network than the one that is watched."""
    if isinstance(case.answer, Failed) or not case.genesis_hash:
        return None
    found = case.answer.network.genesis_hash
    if found == case.genesis_hash:
        return None
    return Finding(
        found,
        f"it serves the network of the genesis file {found}, not {case.genesis_hash}",
        "name services of one network; what this one says is left aside",
    )


# ----------------------------------------------------------------------------------- this program


def find_blind(case: ProgramCase) -> Finding | None:
    """No service gives an answer of use: nothing is watched."""
    since = case.blind_from_ms
    if since is None or case.now_ms - since < case.patience_ms:
        return None
    return Finding(
        f"{since}",
        f"since {format_time(since)} no service answers: nothing is known of any node",
        "start a service, or name one that can be reached from here",
    )


def find_refused_lists(case: ProgramCase) -> Finding | None:
    """Lists from which states would be proven do not hold."""
    if not case.refused:
        return None
    step = (
        "compare fingerprints with others before you believe anything"
        if case.refused == FORK
        else "`waypost list fetch` says more; until then states of nodes are believed, not proven"
    )
    return Finding(case.refused, f"the signed lists are refused: {case.refused}", step)


def find_heartbeat(case: ProgramCase) -> Finding | None:
    """It is time to say that somebody watches."""
    if not case.heartbeat_ms:
        return None
    states: dict[str, int] = {}
    for node in case.nodes:
        states[node.state] = states.get(node.state, 0) + 1
    shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    watched = f"nodes that are watched: {shown}; warnings that are due: {case.active}"
    return Finding(
        f"{case.now_ms // case.heartbeat_ms}",
        watched if case.blind_from_ms is None else "no service answers now: nothing is known",
        "nothing; if no such message comes within the time left, see why",
        case.heartbeat_ms - case.now_ms % case.heartbeat_ms,
    )


# ----------------------------------------------------------------------------- what follows it


def tell_final(case: NetworkCase) -> str:
    """After lists that were not final."""
    final = case.network.latest_final
    return "" if final is None else f"the list of epoch {final.epoch} is final"


def tell_answering(case: ServiceCase) -> str:
    """After silence of a service."""
    return "" if isinstance(case.answer, Failed) else "it answers, and is of the same network"


def tell_caught_up(case: ServiceCase) -> str:
    """After a service was behind."""
    if isinstance(case.answer, Failed):
        return ""
    return f"it is at block {case.answer.network.height}, and up to date"


def tell_watching(_: ProgramCase) -> str:
    """After no service answered."""
    return "a service answers: nodes are watched again"


def tell_lists(_: ProgramCase) -> str:
    """After lists were refused."""
    return "signed lists hold again"
