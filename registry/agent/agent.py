"""One agent: everything that it does, on one event loop.

- It follows the headers. For each new one it looks up its own node, renews its contact data, sees
  to its sockets, and does its duty in the epoch that the header governs.
- What fails is said, in the log and in the status, and tried again. Only what makes it wrong to go
  on ends the agent: a `Fault`, such as another process on the same home.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Final

import structlog

from ledger.crypto import KeyPair
from ledger.errors import Fault, Refusal
from ledger.messages.contact import Contact, Version
from ledger.messages.state import GONE, NODE_STATES, Node
from ledger.messages.tables import NODES
from ledger.nodes import get_duty_key
from ledger.types import Epoch
from registry.addresses import encode_node
from registry.agent.assignment import find_assignment
from registry.agent.challenge import Identity, Place, Responder
from registry.agent.checkins import Checked, Pings, check_in
from registry.agent.contact import compute_wanted, describe, keep, load_kept, renew
from registry.agent.judging import Judging
from registry.agent.ledger import Forked, Ledger, Unproven, now_ms
from registry.agent.networks import unpack
from registry.agent.settings import AgentSettings
from registry.agent.status import Status
from registry.agent.votes import Ballot
from registry.client import TrustedLists
from registry.client.cache import ListCache
from registry.client.checks import read_genesis
from registry.client.services import TIMEOUT_S, Services
from registry.client.transport import Unavailable
from registry.handover import Seeds, run_child
from registry.keystore import derive, load_seed
from registry.lifeline import NONE, until_stopped
from registry.oxenmq import Face
from registry.oxenmq.addresses import parse_place
from registry.watermarks import SignerRefuses, Watermarks

log = structlog.get_logger()

POLLS: Final = 40
"""Times in an epoch that a header that is due is asked for."""
POLL_S: Final = (0.25, 15.0)
"""Seconds between two of them, at least and at most."""

MOST_POLLS: Final = 4
"""Such times after which is asked all the same, whatever this machine's clock says is due."""

RETRY_S: Final = 5.0
"""Seconds before what failed is tried again; a check-in waits six times as long."""

PART_OF_EPOCH: Final = 4
"""The part of an epoch that one answer of a service may take, where that is short."""


class Agent:
    """The agent of one node. Made and run within one loop."""

    def __init__(self, settings: AgentSettings, seeds: Seeds) -> None:
        """Hold the home. Raises a `Fault` where it cannot be used, `Refusal` for bad files.

        Key files that are not among `seeds` are read.
        """
        self.settings = settings
        _check_oxenmq(settings)
        self._started_ms = now_ms()
        self._seed = _get_seed(settings, seeds)
        self.node: KeyPair = derive(self._seed, "node")
        self._duty = [
            derive(seeds.get(path) or load_seed(path), "duty") for path in settings.key_files
        ]
        genesis = settings.read_genesis()
        self.services = Services(settings.services, timeout_s=find_timeout_s(genesis))
        self.ledger = Ledger(
            self.services,
            genesis,
            ListCache(settings.lists_path, genesis),
            agree=settings.agree,
            want_list=bool(settings.oxenmq),
        )
        self._watermarks = Watermarks(settings.watermark_path, self.ledger.genesis_hash)
        self.version = read_version()
        self.status = Status(
            settings.status_path,
            node=encode_node(self.node.public),
            network=self.ledger.genesis_hash.hex(),
            version=f"{self.version.major}.{self.version.minor}.{self.version.patch}",
            started_ms=self._started_ms,
            services=list(self.services.urls),
        )
        kept = load_kept(settings.home, self.ledger.genesis_hash, self.node.public)
        self.own: Node | None = None if kept is None else kept.node
        """The node's record as it was proven last; None where it is not registered or not known."""
        self._knows_own = False
        """Whether that was proven since the start."""
        self._in_force: Contact | None = None if kept is None else kept.contact
        self.pings = Pings()
        self._problems: list[str] = []
        identity = Identity(
            self.ledger.genesis_hash,
            self.node.public,
            self.version,
            self.pair_of,
            self.ledger.admits,
        )
        self.responder = Responder(identity)
        ballot = Ballot(
            settings.votes_path,
            self._watermarks,
            self.node.public,
            self.voting_pair_of,
            lambda: self.ledger.compute_latest(self._started_ms),
        )
        self.judging = Judging(
            settings, self.ledger, self.services, ballot, self.node.public, self.status
        )

    def pair_of(self, epoch: Epoch) -> KeyPair:
        """Return the duty key with which the node answers in an epoch, or the one that it gets."""
        return self._find_pair(epoch) or self._duty[-1]

    def voting_pair_of(self, epoch: Epoch) -> KeyPair:
        """Return the duty key with which the node votes in an epoch. Raises `SignerRefuses`."""
        lacking = self._find_lacking(epoch)
        if lacking:
            raise SignerRefuses(lacking)
        return self.pair_of(epoch)

    def _find_pair(self, epoch: Epoch) -> KeyPair | None:
        """Return the duty key that the node has in an epoch, if it is known and here."""
        key = None if self.own is None else get_duty_key(self.own, epoch)
        return next((pair for pair in self._duty if pair.public == key), None)

    def _find_lacking(self, epoch: Epoch | None) -> str:
        """Return what to do where the node's duty key of an epoch is not here, else nothing."""
        if epoch is None or self.own is None or self.own.state in GONE or self._find_pair(epoch):
            return ""
        key = get_duty_key(self.own, epoch)
        return f"duty key {key.hex()} is in no key file here: name the one with it as `duty`"

    async def run(self, lifeline: int = NONE) -> None:
        """Do duty until told to stop. Raises a `Fault` where going on would be wrong."""
        stop = until_stopped(lifeline)
        await self._listen()
        parts = [
            asyncio.create_task(_keep("following", self._follow)),
            asyncio.create_task(_keep("check-ins", self._check_in)),
        ]
        if self.settings.oxenmq:
            parts.append(asyncio.create_task(_keep("OxenMQ", self._speak_oxenmq)))
        try:
            await asyncio.wait([stop, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            for task in (stop, *parts):
                task.cancel()
            await asyncio.wait([stop, *parts])
            await self.close()

    async def close(self) -> None:
        """Let go of everything."""
        await self.judging.close()
        self.responder.close()
        await self.services.close()
        self._watermarks.close()

    # ------------------------------------------------------------------- epoch by epoch

    async def _follow(self) -> None:
        begun: Epoch | None = None
        while True:
            problem = await self._refresh()
            running = self.ledger.running
            if running is not None and running != begun:
                failed = await self._begin()
                problem = failed or problem
                begun = begun if failed else running
            self._show(problem)
            is_done = running is not None and begun == running
            await asyncio.sleep(self._find_pause_s(is_done=is_done))

    async def _refresh(self) -> str:
        """Take a newer header; return what is wrong, if something is."""
        try:
            await self.ledger.refresh()
        except (Unavailable, Refusal, Forked, Unproven) as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            return f"{error} ({notes})" if notes else str(error)
        successor = self.ledger.lists.successor
        if successor is not None:
            return (
                f"the network goes on as {successor.hex()}: name its genesis file and start again"
            )
        return ""

    async def _begin(self) -> str:
        """Begin the epoch that the newest header governs; return what is wrong, if something is.

        What one step cannot do does not keep the next one from its work.
        """
        problems = []
        # duty comes last: it may have to wait for busy services
        for step in (self._look_up, self._renew_contact, self._begin_duty):
            try:
                await step()
            except Unproven as error:
                log.warning("epoch not begun", epoch=self.ledger.running, reason=str(error))
                problems.append(str(error))
        return "; ".join(problems)

    async def _look_up(self) -> None:
        self.own = await self.ledger.prove(NODES, self.node.public)
        self._knows_own = True

    async def _begin_duty(self) -> None:
        # the rest may take a while
        self.status.put(epoch=self.ledger.running)
        self.judging.resume()
        assignment = await find_assignment(self.ledger, self.services, self.node.public)
        self.judging.begin(assignment)

    async def _renew_contact(self) -> None:
        if not self._knows_own:
            return
        renewal = await renew(
            *(self.ledger, self.services, self.settings, self._seed, self.node.public),
            self.own,
        )
        self._in_force = renewal.in_force
        if self.own is not None and renewal.in_force is not None:
            network = self.ledger.genesis_hash
            keep(self.settings.home, network, self.node.public, self.own, renewal.in_force)
        self.status.put(
            contact={"in_force": describe(renewal.in_force), "wanted": describe(renewal.wanted)},
            contact_why=renewal.why or None,
        )
        await self._listen()

    def _find_pause_s(self, *, is_done: bool) -> float:
        """Return the seconds until a newer header is worth asking for."""
        poll_s = min(max(self.ledger.epoch_ms / 1000 / POLLS, POLL_S[0]), POLL_S[1])
        if not is_done:
            return max(poll_s, min(RETRY_S, self.ledger.epoch_ms / 10_000))
        due_ms = self.ledger.started_ms + self.ledger.epoch_ms
        return min(max(0.0, (due_ms - now_ms()) / 1000), MOST_POLLS * poll_s) + poll_s

    def _show(self, problem: str) -> None:
        problem = "; ".join(filter(None, (problem, self._find_lacking(self.ledger.running))))
        if problem and problem != self.status.get("problem"):
            log.warning("not up to date", reason=problem)
        lists: TrustedLists = self.ledger.lists
        self.status.put(
            epoch=self.ledger.running,
            list=None if lists.is_empty else str(lists.status),
            state=None if self.own is None else NODE_STATES.get(self.own.state),
            problem=problem or None,
            clock=self.ledger.clock or None,
        )

    # ---------------------------------------------------------------------- being there

    async def _listen(self) -> None:
        """Answer challenges where the contact data in force leads, and where it will."""
        wanted = compute_wanted(self.settings, self._in_force)
        contacts = [contact for contact in (self._in_force, wanted) if contact is not None]
        places = [place for contact in contacts for place in find_places(self.settings, contact)]
        self._problems = await self.responder.listen(places)
        for problem in self._problems:
            log.error("no challenges are answered", place=problem)
        self.status.put(
            answering=[f"{host} port {port}" for host, port in self.responder.places],
            not_answering=self._problems,
        )

    async def _check_in(self) -> None:
        while True:
            checked = await check_in(
                *(self.services, self.ledger.genesis_hash, self.node),
                *(self.version, self.find_own_faults()),
            )
            self._show_check_in(checked)
            pause_s = self.settings.check_in_s
            await asyncio.sleep(pause_s if checked.was_taken else min(pause_s, 6 * RETRY_S))

    def _show_check_in(self, checked: Checked) -> None:
        self.status.put(check_in=checked._asdict())

    def find_own_faults(self) -> list[str]:
        """Return the faults that the agent sees of its own node."""
        seen = (
            ("wrong address", bool(self._problems or self._find_lacking(self.ledger.running))),
            ("clock", bool(self.ledger.clock)),
            ("storage failure", self.settings.expects_pings and self.pings.is_silent),
        )
        return [name for name, is_there in seen if is_there]

    async def _speak_oxenmq(self) -> None:
        def lists() -> TrustedLists | None:
            return None if self.ledger.lists.is_empty else self.ledger.lists

        face = Face(
            self.settings.oxenmq,
            self.services,
            self.node,
            lists,
            on_storage_ping=lambda ping: self.pings.note(),
            on_peer_report=lambda report: log.info("peer reported", **report._asdict()),
        )
        await face.run()


def find_timeout_s(genesis: bytes) -> float:
    """Return the seconds that a service has for an answer: one that is dead must not cost an epoch.

    Refuses a genesis file that is none.
    """
    _, params = read_genesis(genesis)
    return min(TIMEOUT_S, params.epoch_ms / 1000 / PART_OF_EPOCH)


def find_places(settings: AgentSettings, contact: Contact) -> list[Place]:
    """Return where challenges to a contact are answered on this machine."""
    hosts = [str(address) for address in settings.bind]
    if not hosts:
        packed = [address for address in (contact.ipv4, contact.ipv6) if address]
        hosts = [_find_host(address) for address in packed]
    return [(host, contact.storage_port) for host in hosts]


def _find_host(packed: bytes) -> str:
    """Return the address to listen on: a machine behind a router does not have its own."""
    address = unpack(packed)
    if address.is_loopback:
        return str(address)
    return str(ip_address(bytes(len(packed))))


def _check_oxenmq(settings: AgentSettings) -> None:
    """Refuse addresses that are none at the start, and not again and again later."""
    for address in settings.oxenmq:
        parse_place(address)


async def _keep(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run a part for ever. Raises a `Fault`; whatever else ends it is logged."""
    while True:
        try:
            await job()
        except Fault:
            raise
        except Exception:
            log.exception("part failed", part=name)
        await asyncio.sleep(RETRY_S)


def _get_seed(settings: AgentSettings, seeds: Seeds) -> bytes:
    return seeds.get(settings.node) or load_seed(settings.node)


def read_version() -> Version:
    """Return the version of this program; 0.0.1 where it is not installed."""
    try:
        numbers = [int(part) for part in version("waypost").split(".")[:3]]
        return Version(*numbers)
    except (PackageNotFoundError, ValueError, TypeError):
        return Version(0, 0, 1)


async def serve(settings: AgentSettings, seeds: Seeds, lifeline: int = NONE) -> None:
    """Run an agent until told to stop. Raises a `Fault`, `Refusal` and `WaypostError`."""
    await Agent(settings, seeds).run(lifeline)


def main(argv: Sequence[str] | None = None) -> None:
    """Run an agent with settings as JSON, for programs that start one.

    Seeds of key files that were opened come through the pipe `--seeds`.
    """
    run_child("agent", AgentSettings.model_validate_json, serve, argv)
