"""`waypost doctor`: looks at this machine, its homes, its services and its nodes.

`CHECKS` is the table of everything that is looked at, in that order: the machine, the files of its
homes (examining.py), what runs, and what others say of it. Each row says what is fine, what should
be known, and what is wrong with what to do; the exit code is 1 if anything is wrong. It only looks:
nothing is written, signed or sent.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from ledger.errors import WaypostError
from registry.amounts import format_duration, format_time
from registry.cli.arguments import ADDRESS, HomeOption, parse_node
from registry.cli.examining import (
    Machine,
    check_cometbft,
    check_disk,
    check_key_files,
    check_processes,
    check_programs,
    check_python,
    check_settings,
    check_watermarks,
    find_machine,
    is_locked,
)
from registry.cli.findings import (
    Finding,
    bad,
    describe_findings,
    doubt,
    format_findings,
    is_bad,
    ok,
)
from registry.cli.http import Contact
from registry.cli.output import EXIT_REFUSED, Output, OutputOption, emit
from registry.cli.preflight import (
    Looked,
    ask_summary,
    check_clock,
    check_network,
    check_reached,
    check_service,
)

CHECK_IN_MS: Final = 2 * 3_600_000
"""An agent that checks in every hour missed one by then."""

ON_DUTY: Final = ("queued", "active", "decommissioned")
"""States in which a node is tested."""


class Health(msgspec.Struct):
    """Of a node what is looked at."""

    key: str
    state: str
    next_step: str
    duty_key: str
    contact: Contact
    checked_in_ms: int | None = None
    agent_version: tuple[int, int, int] | None = None
    agent_faults: list[str] | None = None


class Check(NamedTuple):
    """One row of `CHECKS`."""

    name: str
    look: Callable[[Machine], list[Finding]]


app = typer.Typer()


@app.command()
def doctor(
    home: HomeOption = None,
    agent_home: Annotated[
        Path | None,
        typer.Option(
            envvar="WAYPOST_AGENT_HOME",
            help="Folder of the agent; `agent` in the home directory by default.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            envvar="WAYPOST_URL",
            help="A service; may be repeated. Those of the agent, or this machine's, by default.",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        list[bytes] | None,
        typer.Option(
            parser=parse_node,
            metavar=ADDRESS,
            help="A node to ask about; may be repeated. The agent's by default.",
            show_default=False,
        ),
    ] = None,
    genesis: Annotated[
        Path | None,
        typer.Option(help="Genesis file; the home's by default.", show_default=False),
    ] = None,
    probe: Annotated[
        bool, typer.Option(help="Look at the nodes' addresses as their testers do.")
    ] = True,
    output: OutputOption = Output.TEXT,
) -> None:
    """Look whether this machine, its service, its agent and its nodes are well, and say what to do.

    Run it on the machine of a node. Nothing is changed. The exit code is 1 if something is wrong.
    """
    machine = find_machine(home, agent_home, url or [], node or [], genesis, probe)
    findings = [finding for check in CHECKS for finding in _look(check, machine)]
    facts = {"well": not is_bad(findings), "findings": describe_findings(findings)}
    emit(facts, output, lambda: format_findings(findings))
    if is_bad(findings):
        raise typer.Exit(EXIT_REFUSED)


def _look(check: Check, machine: Machine) -> list[Finding]:
    """Look at one thing; that it cannot be looked at is found, too."""
    try:
        return check.look(machine)
    except (WaypostError, OSError) as error:
        text = str(getattr(error, "text", error))
        return [bad(check.name, text, "mend that first; the checks behind it may follow from it")]


# --- what others say ----------------------------------------------------------------------------


def check_services(machine: Machine) -> list[Finding]:
    """Each service answers, is of this network, and its chain and its clock go on."""
    from registry.cli.http import Service, ServiceError
    from registry.cli.sources import now_ms

    findings = []
    for url in machine.urls:
        with Service(url) as service:
            try:
                summary = ask_summary(service)
                findings += check_service(service, summary, now_ms())
            except ServiceError as error:
                todo = "start it, or name another one with --url"
                findings.append(bad("service", error.text, todo))
                continue
            findings += check_network(summary, machine.genesis, machine.genesis_path)
            findings += check_clock(service.ahead_ms)
    return findings


def check_list(machine: Machine) -> list[Finding]:
    """The newest list verifies from the genesis file."""
    from ledger.crypto import sha256
    from registry.cli.sources import open_lists
    from registry.client.checks import Status
    from registry.client.http import fetch_lists
    from registry.home import LISTS

    if machine.genesis is None:
        return [doubt("list", "there is no genesis file to verify it with", "name --genesis FILE")]
    # what is kept is taken up, and nothing is written
    kept = machine.home / LISTS / sha256(machine.genesis).hex()[:16]
    trusted, _ = open_lists(machine.genesis_path, kept, allow_expired=False)
    fetched = fetch_lists(machine.urls, trusted, None)
    header = trusted.header
    text = f"epoch {header.epoch}, {header.node_count} nodes, verified, from {fetched.source}"
    if trusted.status is not Status.FRESH:
        until = format_time(header.fresh_until_ms)
        text = f"{text}: {trusted.status}, it was fresh until {until}"
        return [doubt("list", text, "no newer list is final: see `waypost network participation`")]
    return [ok("list", text)]


def check_agent(machine: Machine) -> list[Finding]:
    """The agent runs, and told something lately."""
    from registry.agent.status import NoStatus, read_status

    settings = machine.agent
    if settings is None:
        if not machine.nodes:
            return [ok("agent", "none on this machine, and no node was named")]
        text = f"no settings of an agent in {machine.agent_home}"
        return [doubt("agent", text, "name its --agent-home, or run this on the node's machine")]
    if not is_locked(settings.watermark_path):
        todo = f"start it: waypost agent --home {settings.home}"
        return [bad("agent", f"none runs on {settings.home}", todo)]
    try:
        told = read_status(settings.status_path)
    except NoStatus as error:
        return [doubt("agent", f"it runs, but: {error}", "look into its log")]
    troubles = [told.get("problem"), told.get("contact_why"), *(told.get("not_answering") or ())]
    if any(troubles):
        text = f"it runs on {settings.home}, but: {'; '.join(map(str, filter(None, troubles)))}"
        return [doubt("agent", text, "waypost agent status says more")]
    return [ok("agent", f"it runs on {settings.home}, epoch {told.get('epoch', 'unknown')}")]


def check_nodes(machine: Machine) -> list[Finding]:
    """Each node is on duty, and its agent checked in."""
    from registry.cli.sources import now_ms

    findings = []
    for address, health in _ask_nodes(machine).items():
        if health is None:
            text = f"{address} is not registered"
            findings.append(bad("node", text, "register it: waypost node setup"))
            continue
        findings.append(_tell_state(health))
        if health.state in ON_DUTY:
            findings.append(_tell_check_in(health, now_ms()))
    return findings


def _tell_state(health: Health) -> Finding:
    text = f"{health.key} is {health.state}"
    if health.state == "active" and "failed" not in health.next_step:
        return ok("node", text)
    if health.state in ("active", "decommissioned"):
        return bad("node", text, health.next_step)
    return doubt("node", text, health.next_step)


def _tell_check_in(health: Health, now: int) -> Finding:
    if health.checked_in_ms is None:
        todo = "start `waypost agent` beside it; a service that was just started knows of none yet"
        return doubt("check-in", "its agent has not checked in with this service", todo)
    ago = format_duration(max(0, now - health.checked_in_ms))
    version = ".".join(map(str, health.agent_version or ()))
    if now - health.checked_in_ms > CHECK_IN_MS:
        return bad("check-in", f"its agent is silent for {ago}", "look whether the agent runs")
    if health.agent_faults:
        text = f"its agent {version} sees of itself: {', '.join(health.agent_faults)}"
        return bad("check-in", text, "mend that before the testers see it")
    return ok("check-in", f"its agent {version} checked in {ago} ago")


def check_addresses(machine: Machine) -> list[Finding]:
    """Each node answers at its address what testers ask.

    What it does not answer is a doubt: behind a NAT a machine need not see itself.
    """
    from ledger.crypto import sha256
    from registry.addresses import decode_node
    from registry.cli.registering import Reached, change_contact, make_contact

    findings: list[Finding] = []
    if not machine.does_probe:
        return findings
    unchanged = Reached(None, None, None, None, None, None)
    for address, health in _ask_nodes(machine).items():
        if health is None or health.state not in ON_DUTY:
            continue
        if machine.genesis is None:
            # a challenge is of one network
            text = f"nobody looked at {address}: there is no genesis file"
            findings.append(doubt("reached", text, "name --genesis FILE"))
            continue
        contact = make_contact(change_contact(health.contact, unchanged))
        genesis_hash, epoch = sha256(machine.genesis), _ask_epoch(machine)
        duty_key = bytes.fromhex(health.duty_key)
        looked = Looked(genesis_hash, epoch, decode_node(address), duty_key, contact)
        findings += check_reached(looked)
    return findings


def _ask_nodes(machine: Machine) -> dict[str, Health | None]:
    """Return what the first service that answers says of each node."""
    from registry.cli.http import convert

    if not machine.nodes:
        return {}
    with _reach(machine) as service:
        answers = {address: service.find(f"/v1/nodes/{address}") for address in machine.nodes}
    return {
        address: None if answer is None else convert(answer, Health)
        for address, answer in answers.items()
    }


def _ask_epoch(machine: Machine) -> int:
    with _reach(machine) as service:
        return ask_summary(service).epoch


def _reach(machine: Machine) -> Any:
    """Return the first service that answers. Raises `Unreachable`."""
    from registry.cli.http import Service, ServiceError, Unreachable

    for url in machine.urls:
        service = Service(url)
        try:
            ask_summary(service)
        except ServiceError:
            service.__exit__()
        else:
            return service
    raise Unreachable("no service answers")


CHECKS: Final = (
    Check("python", check_python),
    Check("programs", check_programs),
    Check("disk", check_disk),
    Check("settings", check_settings),
    Check("key files", check_key_files),
    Check("watermarks", check_watermarks),
    Check("processes", check_processes),
    Check("cometbft", check_cometbft),
    Check("service", check_services),
    Check("list", check_list),
    Check("agent", check_agent),
    Check("node", check_nodes),
    Check("reached", check_addresses),
)
"""Everything that is looked at. One more is a row here."""
