"""The questions of the wizard: one row of `STEPS` each, in the order in which they are asked.

- A row takes what somebody types, and settles: it looks whether that can work, and says what is in
  the way. On the command line the same answers are options, and are settled the same way.
- Nothing here signs or sends. A key file that is made is whole, with its words written down, before
  anything else is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer

from ledger.errors import WaypostError
from registry.amounts import format_amount, format_share, parse_amount
from registry.cli.arguments import (
    NO_ADDRESS,
    ProgramVersion,
    Share,
    parse_ipv4,
    parse_ipv6,
    parse_share,
    parse_version,
)
from registry.cli.findings import Finding, bad, doubt, is_bad, ok
from registry.cli.preflight import (
    Looked,
    Summary,
    ask_summary,
    check_bindings,
    check_clock,
    check_contact,
    check_funds,
    check_network,
    check_node_key,
    check_reached,
    check_service,
    check_stake,
)
from registry.cli.registering import Reached, make_contact

if TYPE_CHECKING:
    from ledger.messages.contact import Contact
    from ledger.messages.transactions import Register
    from registry.cli.http import Service
    from registry.cli.passphrases import KeyFiles
    from registry.cli.sending import Target

SEATS: Final = ("none", "attests", "validates")
"""What a node may stand for beside its duty."""


class NoSuchFile(WaypostError):
    """A key file is not there, and nobody said that it may be made."""


@dataclass
class Answers:
    """What an operator chose; None is not answered yet."""

    url: str
    operator: Path | None
    node: Path | None
    ipv4: bytes | None
    ipv6: bytes | None
    storage_port: int
    router_port: int
    storage_version: ProgramVersion
    router_version: ProgramVersion
    seat: str
    """One of `SEATS`."""
    fee: int
    """Parts of 10,000."""
    stake: int | None
    """Atomic units."""
    reserve: tuple[Share, ...]

    @property
    def contact(self) -> "Contact":
        """Where the node will be reached."""
        return make_contact(
            Reached(
                self.ipv4,
                self.ipv6,
                self.storage_port,
                self.router_port,
                self.storage_version,
                self.router_version,
            )
        )


@dataclass
class Setup:
    """One run of the wizard: the answers, how to ask, and what was learnt."""

    answers: Answers
    keys: "KeyFiles"
    genesis: Path | None
    """The network that is meant, if somebody named it."""
    is_insecure: bool
    """Whether new key files are made in the clear."""
    does_probe: bool
    may_make: Callable[[Path], bool]
    """Whether a key file that is not there is to be made."""
    service: "Service"
    target: "Target | None" = None
    summary: Summary | None = None
    roles: dict[str, dict[str, str]] = field(default_factory=dict)
    """What is public of the key files, by option; not proven before they are opened."""
    balance: int = 0
    nonce: int = 0
    """The least that the account's next transaction can have, if its service said so."""
    made: list[Path] = field(default_factory=list)
    """Key files that were made."""

    @property
    def network(self) -> "Target":
        """The network, once the first step was settled."""
        assert self.target is not None
        return self.target

    def key_of(self, option: str, role: str) -> bytes:
        """Return a public key of a key file that was named."""
        from registry.addresses import decode_account, decode_node

        text = self.roles[option][role]
        decode: dict[str, Callable[[str], bytes]] = {"account": decode_account, "node": decode_node}
        return decode.get(role, bytes.fromhex)(text)

    def take_key_file(self, option: str, path: Path) -> None:
        """Note what is public of a key file; make one where there is none, if that is wanted."""
        from registry.cli.keys import make_key_file
        from registry.keystore import describe, describe_file

        if path.exists():
            self.roles[option] = describe_file(path)[0]
            return
        if not self.may_make(path):
            raise NoSuchFile(f"there is no key file {path}: `waypost keys new {path}` makes one")
        seed = make_key_file(path, self.keys, self.is_insecure)
        self.made.append(path)
        self.roles[option] = describe(seed)


class Step(NamedTuple):
    """One row of `STEPS`."""

    name: str
    """That of the option, too."""
    question: str
    explanation: str
    show: Callable[[Answers], str]
    """The answer as it would be typed; empty if there is none."""
    take: Callable[[Answers, str], None]
    """Set the answer; raises `ValueError` or `typer.BadParameter`."""
    settle: Callable[[Setup], list[Finding]]
    """Look whether it can work."""


# --- the network and the keys -------------------------------------------------------------------


def settle_service(setup: Setup) -> list[Finding]:
    """Look at service, network and clock."""
    from registry.cli.sending import get_target
    from registry.cli.sources import now_ms
    from registry.home import default_genesis, default_home

    service = setup.service
    service.url = setup.answers.url.rstrip("/")
    setup.summary = ask_summary(service)
    where = setup.genesis or default_genesis(default_home())
    meant = where.read_bytes() if setup.genesis is not None or where.exists() else None
    findings = [
        *check_network(setup.summary, meant, where),
        *check_service(service, setup.summary, now_ms()),
        *check_clock(service.ahead_ms),
    ]
    if is_bad(findings):
        setup.target = get_target(service, None)
        return findings
    # what was compared here is compared again with what is signed
    setup.genesis = setup.genesis if meant is None else where
    setup.target = get_target(service, setup.genesis)
    return findings


def settle_operator(setup: Setup) -> list[Finding]:
    """Take the operator's key file, and look whether he can pay the least stake."""
    from ledger.rules.stakes import minimum_operator_stake
    from registry.cli.http import Account, convert

    path = setup.answers.operator
    if path is None:
        return [bad("operator", "no key file pays the stake", "name one with --operator")]
    setup.take_key_file("operator", path)
    address = setup.roles["operator"]["account"]
    answer = setup.service.get(f"/v1/accounts/{address}")
    setup.balance = int(convert(answer, Account).balance)
    params = setup.network.params
    least = minimum_operator_stake(params.staking_requirement, params.operator_share)
    found = check_funds(setup.balance, least + setup.network.minimum_fee, address)
    return [finding._replace(check="least stake") for finding in found]


def settle_node(setup: Setup) -> list[Finding]:
    """Take the node's key file, and look whether its keys are free."""
    path = setup.answers.node
    if path is None:
        return [bad("node", "no key file is the node's", "name one with --node")]
    setup.take_key_file("node", path)
    findings = check_node_key(setup.service, setup.roles["node"]["node"])
    findings += _check_roles(setup, "node", "duty")
    if setup.roles["node"] == setup.roles["operator"]:
        text = "it is the operator's key file too: who gets into the node's machine has the money"
        findings.append(doubt("key files", text, "use a file of its own for the node"))
    return findings


def _check_roles(setup: Setup, *roles: str) -> list[Finding]:
    keys = {role: setup.key_of("node", role) for role in roles}
    return check_bindings(setup.service, setup.key_of("node", "node"), keys)


def settle_seat(setup: Setup) -> list[Finding]:
    """Look whether the keys of a seat are free."""
    assert setup.summary is not None
    seat = setup.answers.seat
    if seat == "none":
        return [ok("seat", "none")]
    if seat == "attests":
        return _check_roles(setup, "list")
    findings = _check_roles(setup, "list", "consensus")
    if setup.summary.engine != "comet":
        text = f"nobody validates on this network, whose engine is {setup.summary.engine}"
        findings.append(doubt("seat", text, "answer `attests`, or `none`"))
    return findings


# --- where it is reached ------------------------------------------------------------------------


def settle_ipv6(setup: Setup) -> list[Finding]:
    """Look whether the addresses are ones that others can route to."""
    return check_contact(setup.answers.contact, setup.network)


def settle_reached(setup: Setup) -> list[Finding]:
    """Look at the node as testers do."""
    assert setup.summary is not None
    if not setup.does_probe:
        return [doubt("reached", "nobody looked", "leave --no-probe out to have it probed")]
    looked = Looked(
        setup.network.genesis_hash,
        setup.summary.epoch,
        setup.key_of("node", "node"),
        setup.key_of("node", "duty"),
        setup.answers.contact,
    )
    return check_reached(looked)


# --- the terms ----------------------------------------------------------------------------------


def settle_stake(setup: Setup) -> list[Finding]:
    """Look whether the operator has the stake, and whether the ledger takes it."""
    stake = setup.answers.stake
    if stake is None:
        return [bad("stake", "no stake was chosen", "name one with --stake")]
    needed = stake + setup.network.minimum_fee
    funds = check_funds(setup.balance, needed, setup.roles["operator"]["account"])
    return [*check_stake(make_body(setup, ()), setup.network.params), *funds]


def settle_reserve(setup: Setup) -> list[Finding]:
    """Look whether the ledger takes the reserved places beside the stake."""
    if setup.answers.stake is None:
        return []
    body = make_body(setup, setup.answers.reserve)
    found = check_stake(body, setup.network.params)
    return [finding._replace(check="reserved places") for finding in found if finding.todo]


def make_body(setup: Setup, reserve: tuple[Share, ...]) -> "Register":
    """Return the registration as it would be, without signatures."""
    from ledger.messages.transactions import Place, Register, Registration
    from registry.drafts import UNSIGNED

    answers = setup.answers
    registration = Registration(
        node=setup.key_of("node", "node"),
        life=1,
        operator=setup.key_of("operator", "account"),
        beneficiary=setup.key_of("operator", "account"),
        fee=answers.fee,
        reserved=tuple(Place(*share) for share in sorted(reserve)),
        contact=answers.contact,
        duty_key=setup.key_of("node", "duty"),
        list_key=b"",
        list_tip=b"",
        consensus_key=b"",
        expiry_ms=setup.network.time_ms,
    )
    return Register(registration, UNSIGNED, UNSIGNED, b"", b"", answers.stake or 0)


# --- reading and showing answers ----------------------------------------------------------------


def nothing(_setup: Setup) -> list[Finding]:
    """There is nothing to look at."""
    return []


def _path(text: str) -> Path:
    if not text:
        raise ValueError("name a key file")
    return Path(text).expanduser()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise ValueError(f"{text!r} is no port: 1 to 65535")
    return int(text)


def _seat(text: str) -> str:
    if text not in SEATS:
        raise ValueError(f"{text!r}: one of {', '.join(SEATS)}")
    return text


def parse_fee(text: str) -> int:
    """Return parts of 10,000, typed as such or in per cent: `1250` or `12.5 %`."""
    number = text.removesuffix("%").strip()
    if text.endswith("%"):
        whole, _, rest = number.partition(".")
        number = whole + rest.ljust(2, "0") if whole and len(rest) <= 2 else ""
    if not number.isdecimal() or int(number) > 10_000:
        raise ValueError(f"{text!r} is no fee: parts of 10,000 such as 1250, or 12.5 %")
    return int(number)


def parse_reserve(text: str) -> tuple[Share, ...]:
    """Return places, `ADDRESS=AMOUNT` with spaces between them; none for `none`."""
    return () if text == NO_ADDRESS else tuple(parse_share(part) for part in text.split())


def show_amount(units: int) -> str:
    """Return an amount as it is typed."""
    return format_amount(units).split()[0]


def show_reserve(reserve: tuple[Share, ...]) -> str:
    """Return places as they are typed."""
    from registry.addresses import encode_account

    shown = (f"{encode_account(share.account)}={show_amount(share.amount)}" for share in reserve)
    return " ".join(shown) or NO_ADDRESS


def show_address(packed: bytes | None) -> str:
    """Return an address as it is typed."""
    from ipaddress import ip_address

    return str(ip_address(packed)) if packed else NO_ADDRESS


def _show_version(version: ProgramVersion) -> str:
    return ".".join(map(str, version))


def _setter(name: str, parse: Callable[[str], Any]) -> Callable[[Answers, str], None]:
    return lambda answers, text: setattr(answers, name, parse(text))


STEPS: Final = (
    Step("url", "The service to ask and to send to",
         "It is asked for what the ledger says, and sends the registration. It gets no key.",
         lambda answers: answers.url, _setter("url", str), settle_service),
    Step("operator", "Key file of the operator, who pays the stake",
         "The account that owns the node, gets the fee and its part of the rewards, and gets the "
         "stake back. A file that is not there can be made.",
         lambda answers: str(answers.operator or ""), _setter("operator", _path), settle_operator),
    Step("node", "Key file of the node",
         "The node's own keys, which its agent signs with. Keep it apart from the operator's.",
         lambda answers: str(answers.node or ""), _setter("node", _path), settle_node),
    Step("ipv4", "IPv4 address of the node, or none",
         "Where the others reach it. It stands in the signed list, and testers look for it there.",
         lambda answers: show_address(answers.ipv4), _setter("ipv4", parse_ipv4), nothing),
    Step("ipv6", "IPv6 address of the node, or none",
         "One of the two is needed; with both, both are tested.",
         lambda answers: show_address(answers.ipv6), _setter("ipv6", parse_ipv6), settle_ipv6),
    Step("storage_version", "Version of the storage server",
         "The one that runs, such as 2.11.0. The agent can keep it up to date later.",
         lambda answers: _show_version(answers.storage_version),
         _setter("storage_version", parse_version), nothing),
    Step("router_version", "Version of the node's program",
         "The one that runs, such as 11.6.0.",
         lambda answers: _show_version(answers.router_version),
         _setter("router_version", parse_version), nothing),
    Step("storage_port", "Port of the storage server",
         "TCP for the storage server, UDP for the agent that answers testers: open both.",
         lambda answers: str(answers.storage_port), _setter("storage_port", _port), nothing),
    Step("router_port", "Port of the router",
         "The port of QUIC and OxenMQ. Now the node is looked at as its testers will do it.",
         lambda answers: str(answers.router_port), _setter("router_port", _port), settle_reached),
    Step("seat", "Does it stand for a seat: none, attests or validates",
         "Attestors sign the lists, validators agree on blocks. Leave it at none if you do not run "
         "`waypost run` with this key beside the node.",
         lambda answers: answers.seat, _setter("seat", _seat), settle_seat),
    Step("fee", "The operator's fee, in parts of 10,000 or in per cent",
         "It is taken from the rewards before they are shared by stake. It cannot be changed in "
         "this life of the node.",
         lambda answers: str(answers.fee), _setter("fee", parse_fee), nothing),
    Step("stake", "The operator's stake",
         "A part of the requirement at least; others may contribute the rest. It is locked until "
         "the node has left and the unbonding time is over, and can be slashed until then.",
         lambda answers: "" if answers.stake is None else show_amount(answers.stake),
         _setter("stake", parse_amount), settle_stake),
    Step("reserve", "Places kept for others, ADDRESS=AMOUNT with spaces between, or none",
         "Each is kept for one account and one amount for some time, then it is open like the "
         "rest.",
         lambda answers: show_reserve(answers.reserve), _setter("reserve", parse_reserve),
         settle_reserve),
)  # fmt: skip
"""Everything that is asked, and in which order. One more is a row here and a field of `Answers`."""


def show_answer(step: Step, answers: Answers) -> str:
    """Return an answer for the summary, with its unit."""
    if step.name == "fee":
        return f"{answers.fee} ({format_share(answers.fee)} of the rewards)"
    if step.name == "stake" and answers.stake is not None:
        return format_amount(answers.stake)
    return step.show(answers) or "not answered"


def wrong_answer(error: Exception) -> str:
    """Return what is wrong with what was typed."""
    return error.message if isinstance(error, typer.BadParameter) else str(error)
