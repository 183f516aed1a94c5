"""`waypost node setup`: all is checked before anything is signed, and shown before it is sent.

    questions (steps.py) -> first summary (plan.py) -> key files are opened, the transaction is
    signed -> second summary: that very transaction -> it is sent

- At every question, and at both summaries, one can go back, or quit. What was signed and not sent
  is forgotten.
- It asks in the terminal, wherever the standard output leads. With `--yes` it asks nothing: all
  answers are options, and what is in the way is said at once.
- It stands beside `register`, which does as it is told: scripts that rely on that keep it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from ledger.errors import WaypostError
from registry.amounts import format_amount
from registry.cli.arguments import AMOUNT, KEY_FILE, ProgramVersion, parse_amount
from registry.cli.findings import Finding, describe_findings, format_findings, is_bad
from registry.cli.http import DEFAULT_URL, Service, ServiceError, UrlOption
from registry.cli.output import Output, OutputOption, emit, printable, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.plan import compose_command, format_choices, format_exact
from registry.cli.registering import (
    ATTESTS,
    IPV4,
    IPV6,
    ROUTER_PORT,
    ROUTER_PORT_USUAL,
    ROUTER_VERSION,
    STORAGE_PORT,
    STORAGE_PORT_USUAL,
    STORAGE_VERSION,
    SUPPORTED_ROUTER,
    SUPPORTED_STORAGE,
    VALIDATES,
    FeeOption,
    ReserveOption,
    agree,
    get_next_life,
)
from registry.cli.sending import GenesisOption, WaitOption
from registry.cli.steps import STEPS, Answers, Setup, Step, wrong_answer

if TYPE_CHECKING:
    from ledger.transactions.envelope import Transaction

BACK: Final = ("back", "b")
QUIT: Final = ("quit", "q")
HELP: Final = "?"

TRIES: Final = 3
"""How often it is signed without questions, if other transactions of the account come first."""

WELCOME: Final = """\
This registers a service node, step by step. Nothing is signed before you saw what you chose, and
nothing is sent before you saw the very transaction. Enter takes what stands in brackets; `back`
goes back, `quit` ends it, `?` says more.
"""


class NotReady(WaypostError):
    """Something has to be mended first; the notes say what."""


class Abandoned(WaypostError):
    """The person at the terminal ended it before anything was sent."""


class OtherKeys(WaypostError):
    """A key file holds other keys than it says."""


class Prepared(NamedTuple):
    """A registration that is signed, and waits to be sent."""

    tx: "Transaction"
    facts: dict[str, Any]
    """What it says."""


def setup(
    operator: Annotated[
        Path | None,
        typer.Option(
            metavar=KEY_FILE,
            help="Key file of the operator, who pays the stake.",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        Path | None,
        typer.Option(metavar=KEY_FILE, help="Key file of the node.", show_default=False),
    ] = None,
    stake: Annotated[
        int | None,
        typer.Option(
            parser=parse_amount, metavar=AMOUNT, help="The operator's stake.", show_default=False
        ),
    ] = None,
    ipv4: Annotated[bytes | None, IPV4] = None,
    ipv6: Annotated[bytes | None, IPV6] = None,
    storage_port: Annotated[int, STORAGE_PORT] = STORAGE_PORT_USUAL,
    router_port: Annotated[int, ROUTER_PORT] = ROUTER_PORT_USUAL,
    storage_version: Annotated[ProgramVersion | None, STORAGE_VERSION] = None,
    router_version: Annotated[ProgramVersion | None, ROUTER_VERSION] = None,
    fee: FeeOption = 0,
    reserve: ReserveOption = None,
    attests: Annotated[bool, ATTESTS] = False,
    validates: Annotated[bool, VALIDATES] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: all answers stand on the command line.")
    ] = False,
    make_keys: Annotated[
        bool, typer.Option("--make-keys", help="With --yes: make key files that are not there.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Make them in the clear: for development only.")
    ] = False,
    probe: Annotated[
        bool, typer.Option(help="Look at the node's address as its testers will.")
    ] = True,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Register a service node step by step; check everything before it signs, ask before it sends.

    In a terminal it asks for every answer, and proposes those that stand on the command line. It
    shows what you chose with what it costs and what follows, and the single command that does the
    same; then the very transaction. With `--yes` it asks nothing, and refuses if anything is in
    the way.
    """
    keys = KeyFiles(passphrase_file, passphrase_fd)
    seat = "validates" if validates else "attests" if attests else "none"
    versions = storage_version or SUPPORTED_STORAGE, router_version or SUPPORTED_ROUTER
    answers = Answers(
        *(url, operator, node, ipv4, ipv6, storage_port, router_port, *versions),
        *(seat, fee, stake, tuple(reserve or ())),
    )
    _check_options(answers, keys, yes, insecure)
    with refusals(), Service(url) as service:
        may_make = (lambda _path: make_keys) if yes else _ask_to_make
        state = Setup(answers, keys, genesis, insecure, probe, may_make, service)
        if yes:
            _run_unattended(state, wait, output)
        else:
            _run_attended(state, wait, output)


def _check_options(answers: Answers, keys: KeyFiles, yes: bool, insecure: bool) -> None:
    if insecure and not keys.is_attended:
        raise typer.BadParameter("--insecure and a passphrase exclude each other")
    if not yes:
        return
    for name in ("operator", "node", "stake"):
        if getattr(answers, name) is None:
            raise typer.BadParameter(f"with --yes it needs --{name}")
    if not answers.ipv4 and not answers.ipv6:
        raise typer.BadParameter("a node needs --ipv4, --ipv6, or both")


# --- without questions --------------------------------------------------------------------------


def _run_unattended(state: Setup, wait: bool, output: Output) -> None:
    findings: list[Finding] = []
    for step in STEPS:
        findings += step.settle(state)
        if is_bad(findings):
            error = NotReady("the node cannot be registered like this")
            for line in format_findings(findings).splitlines():
                error.add_note(line)
            raise error
    shown = ""
    for _ in range(TRIES):
        prepared = _sign(state)
        if output == Output.TEXT and not shown:
            shown = f"{format_choices(state, findings)}\n\n{format_exact(*prepared, state)}\n"
            print(printable(shown))
        row = _send(state, prepared, wait)
        if row is not None:
            return _emit(state, findings, prepared, row, output)
    raise ServiceError("other transactions of this account get ahead each time: try again")


# --- with a person ------------------------------------------------------------------------------


def _run_attended(state: Setup, wait: bool, output: Output) -> None:
    from registry.cli.backups import NoTerminal
    from registry.cli.terminal import has_terminal, say

    if not has_terminal():
        raise NoTerminal("there is no terminal to ask in: give all answers as options, and --yes")
    say(WELCOME)
    with _abandoning(state):
        findings = _ask_from(state, 0, len(STEPS))
    while True:
        with _abandoning(state):
            findings, prepared = _prepare(state, findings)
        row = _send_shown(state, prepared, wait)
        if row is not None:
            return _emit(state, findings, prepared, row, output)
        say("\nAnother transaction of this account came first: it has to be signed anew.\n")


def _prepare(state: Setup, findings: list[Finding]) -> tuple[list[Finding], Prepared]:
    """Show both summaries, and ask again for what is to be changed, until it is to be sent."""
    while True:
        place = _ask_to_sign(state, findings)
        if place is not None:
            findings = _ask_from(state, place, place + 1)
            continue
        prepared = _sign(state)
        if _ask_to_send(state, prepared):
            return findings, prepared


def _ask_from(state: Setup, place: int, stop: int) -> list[Finding]:
    """Ask the steps from a place on up to another; look at all of them, and return what was found.

    An answer may change what others were settled with, and time has passed.
    """
    from registry.cli.terminal import say

    while True:
        while place < stop:
            place = _ask_step(state, place)
        say("\nEverything is looked at once more …\n")
        findings: list[Finding] = []
        for place, step in enumerate(STEPS):
            found = _settle(state, step)
            findings += found
            if is_bad(found):
                say(printable(f"\n{format_findings(found)}\n"))
                stop = place + 1
                break
        else:
            return findings


def _ask_step(state: Setup, place: int) -> int:
    """Ask one question; return the place of the next."""
    from registry.cli.terminal import ask, say

    step = STEPS[place]
    proposal = step.show(state.answers)
    shown = f" [{proposal}]" if proposal else ""
    reply = ask(f"\n{place + 1:2}/{len(STEPS)}  {step.question}{shown}: ").strip()
    if reply.lower() in BACK:
        return max(0, place - 1)
    _check_quit(reply)
    if reply == HELP:
        say(f"{step.explanation}\n")
        return place
    try:
        step.take(state.answers, reply or proposal)
    except (typer.BadParameter, ValueError) as error:
        say(printable(f"{wrong_answer(error)}\n"))
        return place
    found = _settle(state, step)
    say(printable(f"{format_findings(found)}\n") if found else "")
    return place if is_bad(found) else place + 1


def _settle(state: Setup, step: Step) -> list[Finding]:
    """Settle a step; what goes wrong with it is a finding, since the person can answer again."""
    from registry.cli.findings import bad
    from registry.cli.terminal import NoAnswer

    try:
        return step.settle(state)
    except NoAnswer:
        raise
    except (WaypostError, OSError) as error:
        text = str(getattr(error, "text", error))
        return [bad(step.name, text, "answer again, or go back")]


def _ask_to_sign(state: Setup, findings: list[Finding]) -> int | None:
    """Show the first summary; return the place of a step to go to, or None to sign."""
    from registry.cli.terminal import ask, say

    say(printable(f"\n{format_choices(state, findings)}\n"))
    while True:
        question = "\nSign it? yes, the number of an answer to change it, back, or quit: "
        reply = ask(question).strip().lower()
        _check_quit(reply)
        if reply == "yes":
            return None
        if reply in BACK:
            return len(STEPS) - 1
        if reply.isdecimal() and 1 <= int(reply) <= len(STEPS):
            return int(reply) - 1


def _ask_to_send(state: Setup, prepared: Prepared) -> bool:
    """Show the second summary; return whether it is to be sent, else one goes back."""
    from registry.cli.terminal import ask, say

    say(printable(f"\n{format_exact(*prepared, state)}\n"))
    while True:
        reply = ask("\nSend it? yes, back, or quit: ").strip().lower()
        _check_quit(reply)
        if reply == "yes":
            return True
        if reply in BACK:
            return False


def _check_quit(reply: str) -> None:
    if reply.lower() in QUIT:
        raise Abandoned("nothing was sent")


def _ask_to_make(path: Path) -> bool:
    from registry.cli.terminal import ask

    return ask(f"There is no {path}. Make a new key file there? yes or no: ").strip() == "yes"


@contextmanager
def _abandoning(state: Setup) -> Iterator[None]:
    """Say what stays if it ends in here: key files that were made, and nothing else."""
    from registry.cli.terminal import say

    try:
        yield
    except BaseException:
        with suppress(OSError):  # the terminal may be what ended it
            for path in state.made:
                say(printable(f"\n{path} was made, and stays: it is whole."))
            say("\nNothing was sent.\n")
        raise


# --- signing and sending ------------------------------------------------------------------------


def _sign(state: Setup) -> Prepared:
    """Open the key files, and sign the registration."""
    from ledger.transactions import WIRE
    from registry.cli.sending import WrongNetwork, get_target, get_terms
    from registry.drafts import describe
    from registry.keystore import derive
    from registry.wallet import Wallet, sign_registration

    answers = state.answers
    assert answers.node is not None
    assert answers.operator is not None
    assert answers.stake is not None
    node, payer = state.keys.load(answers.node), state.keys.load(answers.operator)
    for option, seed in (("node", node), ("operator", payer)):
        _check_same(state, option, seed)
    looked_at = state.network.genesis_hash
    state.target = target = get_target(state.service, state.genesis)
    if target.genesis_hash != looked_at:
        raise WrongNetwork(f"{state.service.url} serves another network than when it was looked at")
    life = get_next_life(state.service, state.roles["node"]["node"])
    owner = derive(payer, "account")
    terms = agree(target, life, owner.public, answers.fee, answers.reserve, answers.contact)
    terms = terms._replace(attests=answers.seat != "none", validates=answers.seat == "validates")
    registration = sign_registration(target.genesis_hash, node, terms, answers.stake)
    envelope = get_terms(state.service, target, owner.public)
    envelope = envelope._replace(nonce=max(envelope.nonce, state.nonce))
    raw = Wallet(target.genesis_hash, owner).register(envelope, registration)
    tx = WIRE.decode(raw)
    return Prepared(tx, describe(tx))


def _check_same(state: Setup, option: str, seed: bytes) -> None:
    from registry.keystore import describe

    if describe(seed) != state.roles[option]:
        raise OtherKeys(f"the key file of --{option} was another one when it was looked at")


def _send(state: Setup, prepared: Prepared, wait: bool) -> dict[str, Any] | None:
    """Send what was signed; None if another transaction of the account came first."""
    from registry.cli.http import Refused
    from registry.cli.sending import get_expected_nonce, send

    try:
        return send(state.service, prepared.tx.raw, wait)
    except Refused as refused:
        expected = get_expected_nonce(refused)
        if expected is None:
            raise
        state.nonce = expected
        return None


def _send_shown(state: Setup, prepared: Prepared, wait: bool) -> dict[str, Any] | None:
    """Send what a person saw, and say where to look if that breaks off."""
    from registry.cli.http import Refused
    from registry.cli.terminal import say

    try:
        return _send(state, prepared, wait)
    except Refused:
        say("\nIt was refused: nothing changed.\n")
        raise
    except BaseException:
        say(f"\nIt may have arrived: `waypost tx show {prepared.tx.hash.hex()}` says.\n")
        raise


def _emit(
    state: Setup,
    findings: list[Finding],
    prepared: Prepared,
    row: dict[str, Any],
    output: Output,
) -> None:
    target, answers = state.network, state.answers
    address = state.roles["node"]["node"]
    facts = {
        "network": target.name,
        "genesis_hash": target.genesis_hash.hex(),
        "node": address,
        "operator": state.roles["operator"]["account"],
        "stake": str(answers.stake),
        "made": [str(path) for path in state.made],
        "checks": describe_findings(findings),
        "command": compose_command(state),
        "transaction": prepared.facts,
        **{name: row[name] for name in ("hash", "state", "height", "index")},
    }
    where = f"in block {row['height']}" if row["state"] == "committed" else "waits for a block"
    text = (
        f"registered {address} with {format_amount(answers.stake or 0)}: {where}\n"
        f"next: waypost node status {address}"
    )
    emit(facts, output, text)
