"""What happens on a development network at first, and what one sees of it all the time.

The faucet funds 25 operators and some contributors, each operator registers a node, contributors
fill up the nodes that are not fully funded; then each list that becomes final is fetched and
verified like any client does it, from the genesis file alone.
"""

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from ledger.crypto import sha256
from ledger.errors import WaypostError
from ledger.messages.genesis import COMET, GENESIS
from ledger.params import Params
from ledger.types import BASIS_POINTS, COIN, Amount, Key
from registry.addresses import encode_account
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.client.transport import Unavailable
from registry.devnet.cast import NODES, Cast, CastNode
from registry.wallet import NodeTerms, Terms, Wallet, sign_registration

SHARED_EVERY: Final = 5
"""One node in so many has an operator with a quarter of the stake and a contributor."""

POCKET: Final = 10 * COIN
"""What accounts get beside their stake, for fees."""

LIFETIME_BLOCKS: Final = 600
REGISTRATION_MS: Final = 3_600_000
START_S: Final = 60.0
SETTLE_S: Final = 5.0
POLL_S: Final = 0.5
TIMEOUT_S: Final = 30.0


class Story:
    """One run of a development network, told on standard output."""

    def __init__(
        self,
        cast: Cast,
        genesis: bytes,
        url: str,
        extras: Sequence[str] = (),
        *,
        has_agents: bool = True,
    ) -> None:
        """The accounts named by `extras` get a bit from the faucet too."""
        self._cast = cast
        self._extras = extras
        self._has_agents = has_agents
        self._genesis = genesis
        self._genesis_hash = sha256(genesis)
        parsed = GENESIS.decode(genesis)
        self._params = Params(*parsed.params)
        seats = len(parsed.attestors)
        self._engine = (
            f"validators {seats} with CometBFT, of whom more than two thirds agree on each block"
            if parsed.engine == COMET
            else f"attestors  {seats} processes"
        )
        self._url = url
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._client = httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def stop(self) -> None:
        """End the telling soon."""
        self._stop.set()

    # ----------------------------------------------------------------------- telling

    def introduce(self, folder: Path, is_new: bool) -> None:
        """Say what is about to run, and what it is worth."""
        what = "new network" if is_new else "the network goes on"
        self.say(f"waypost devnet: {what}, in {folder}")
        self.say(f"  log        {folder / 'log'}")
        self.say("  INSECURE: every key comes from one seed in the clear; for trying out only")

    def wait_until_served(self) -> bool:
        """Wait until the service answers; False if it was stopped before."""
        deadline = time.monotonic() + START_S
        while not self._stop.is_set() and time.monotonic() < deadline:
            try:
                self._get("/v1/network")
            except WaypostError:
                self._stop.wait(POLL_S)
                continue
            self.say(f"  service    {self._url}   (for browsers; described at /openapi.json)")
            self.say(f"  {self._engine}, each executes every block itself")
            self.say(f"  nodes      {self._say_nodes()}")
            return True
        return False

    def _say_nodes(self) -> str:
        first, last = self._cast.nodes[0].ipv4, self._cast.nodes[-1].ipv4
        if not self._has_agents:
            return f"{NODES} at {first} to {last}, where nothing runs: nobody tests them"
        return f"{NODES} at {first} to {last}, an agent beside each tests others"

    def found(self) -> bool:
        """Fund accounts and register nodes, as far as that is still to be done.

        False if it did not work out, or was stopped; what goes wrong is told.
        """
        try:
            self._fund()
            self._register()
        except WaypostError as error:
            self._complain(error)
            return False
        return not self._stop.is_set()

    def watch(self) -> None:
        """Verify each list that becomes final, and tell of it, until stopped."""
        try:
            self._watch()
        except WaypostError as error:
            self._complain(error)

    def _complain(self, error: WaypostError) -> None:
        # what a service says while it stops is no news
        if not self._stop.wait(SETTLE_S):
            self.say(f"error: {error}")

    def say(self, text: str) -> None:
        """Tell one line."""
        print(text, flush=True)

    def tell(self, text: str) -> None:
        """Tell what happened, with the time since the start."""
        self.say(f"{time.monotonic() - self._started:7.1f} s  {text}")

    # ------------------------------------------------------------------------ acting

    def give(self, account: Key, coins: int) -> int:
        """Send coins from the faucet; return the height of their block."""
        wallet = self._wallet("faucet")
        raw = wallet.transfer(self._terms(wallet.account), account, coins * COIN)
        height: int = self._send([raw])[0]["height"]
        return height

    def _fund(self) -> None:
        """Give the operators and contributors that have nothing their stake and a bit more."""
        faucet = self._wallet("faucet")
        terms = self._terms(faucet.account)
        wanted = [(self._cast.account(f"operator {n}"), self._stake(n)) for n in range(NODES)]
        wanted += [
            (self._cast.account(f"contributor {n}"), self._params.staking_requirement)
            for n in range(0, NODES, SHARED_EVERY)
        ]
        wanted += [(self._cast.account(name), 0) for name in self._extras]
        poor = [(pair, amount) for pair, amount in wanted if not self._is_known(pair.public)]
        raws = [
            faucet.transfer(terms._replace(nonce=terms.nonce + place), pair.public, amount + POCKET)
            for place, (pair, amount) in enumerate(poor)
        ]
        if raws:
            height = self._send(raws)[-1]["height"]
            self.tell(f"{len(raws)} accounts funded by the faucet, block {height}")

    def _register(self) -> None:
        """Register the nodes, and fill up those that wait for contributors.

        These come first, so that one block makes all 25 complete and one epoch's end activates
        them: who comes later waits for a test.
        """
        shared = self._cast.nodes[::SHARED_EVERY]
        first = self._make_registrations(shared)
        if first:
            self._send(first)
        fills = self._make_contributions(shared)
        rest = self._make_registrations([node for node in self._cast.nodes if node not in shared])
        if not rest + fills:
            return
        height = self._send(rest + fills)[-1]["height"]
        count = len(first) + len(rest)
        if count:
            self.tell(f"{count} nodes registered by {count} transactions, block {height}")
        if fills:
            self.tell(f"{len(fills)} nodes filled up by contributors, block {height}")

    def _make_registrations(self, nodes: Sequence[CastNode]) -> list[bytes]:
        """Return the registrations of those that are not registered yet."""
        return [self._make_registration(node) for node in nodes if self._get_node(node) is None]

    def _make_registration(self, node: CastNode) -> bytes:
        wallet = self._wallet(f"operator {node.number}")
        terms = NodeTerms(
            life=1,
            operator=wallet.account,
            beneficiary=wallet.account,
            fee=500,
            reserved=(),
            contact=node.contact,
            expiry_ms=time.time_ns() // 1_000_000 + REGISTRATION_MS,
            attests=False,
        )
        stake = self._stake(node.number)
        registration = sign_registration(self._genesis_hash, node.seed, terms, stake)
        return wallet.register(self._terms(wallet.account), registration)

    def _make_contributions(self, nodes: Sequence[CastNode]) -> list[bytes]:
        """Return what fills up those of the nodes that wait for more."""
        made = []
        for node in nodes:
            known = self._get_node(node)
            if known is not None and known["state"] == "awaiting":
                wallet = self._wallet(f"contributor {node.number}")
                terms, amount = self._terms(wallet.account), int(known["open"])
                made.append(wallet.contribute(terms, node.key, 1, amount))
        return made

    # ---------------------------------------------------------------------- watching

    def _watch(self) -> None:
        """Tell in short once there were nodes."""
        lists = TrustedLists(self._genesis, _now_ms())
        told, shown = -1, False
        while not self._stop.wait(POLL_S):
            try:
                lists.start_update(_now_ms())
                fetch_lists([self._url], lists)
            except Unavailable:
                continue
            if lists.header.epoch == told:
                continue
            told = lists.header.epoch
            self._tell_list(lists, briefly=shown)
            if lists.header.node_count and not shown:
                self._say_where_to_look()
                shown = True

    def _tell_list(self, lists: TrustedLists, *, briefly: bool) -> None:
        header, signers = lists.header, lists.signers
        text = (
            f"epoch {header.epoch} ended: list of {header.node_count} nodes in "
            f"{header.swarm_count} swarms, final by {signers.signed} of {signers.seats} attestors"
        )
        if briefly:
            self.tell(text)
            return
        self.tell(f"{text}, verified from the genesis file")
        self.say(f"           fingerprint: {' '.join(lists.fingerprint)}")

    def _say_where_to_look(self) -> None:
        node = self._cast.nodes[0].address
        at = "" if self._url.endswith(":8420") else f"export WAYPOST_URL={self._url}; "
        self.say("           look around, in another terminal:")
        for command in ("list fetch", "list show", "node list", f"node status {node}"):
            self.say(f"             {at}{_program()} {command}")
        self.say("           Ctrl-C stops everything; the next start goes on; --fresh starts over")

    # ------------------------------------------------------------------------ helpers

    def _wallet(self, name: str) -> Wallet:
        return Wallet(self._genesis_hash, self._cast.account(name))

    def _stake(self, number: int) -> Amount:
        """What operator `number` stakes himself."""
        requirement = self._params.staking_requirement
        shared = -(-requirement * self._params.operator_share // BASIS_POINTS)
        return shared if number % SHARED_EVERY == 0 else requirement

    def _terms(self, account: Key) -> Terms:
        nonce = self._get(f"/v1/accounts/{encode_account(account)}")["nonce"]
        height = self._get("/v1/network")["height"]
        return Terms(nonce, self._params.minimum_fee, height + LIFETIME_BLOCKS)

    def _is_known(self, account: Key) -> bool:
        answer = self._get(f"/v1/accounts/{encode_account(account)}")
        return bool(answer["balance"] != "0" or answer["nonce"] > 0)

    def _get_node(self, node: CastNode) -> dict[str, Any] | None:
        response = self._request("GET", f"/v1/nodes/{node.address}")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return None
        known: dict[str, Any] = response.json()
        return known

    def _get(self, path: str) -> Any:
        response = self._request("GET", path)
        if response.status_code != httpx2.codes.OK:
            raise WaypostError(f"{path} answers {response.status_code}: {response.text[:200]}")
        return response.json()

    def _send(self, raws: list[bytes]) -> list[dict[str, Any]]:
        """Submit transactions and wait until each stands in a block."""
        response = self._request(
            "POST",
            "/v1/transactions",
            params={"wait": "commit"},
            json={"transactions": [raw.hex() for raw in raws]},
        )
        results: list[dict[str, Any]] = response.json().get("results", [])
        if len(results) != len(raws) or any(row["state"] != "committed" for row in results):
            refused = [str(row) for row in results if row["state"] != "committed"]
            raise WaypostError(f"not committed: {(refused or [response.text])[0]}")
        return results

    def _request(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        try:
            return self._client.request(method, path, **arguments)
        except httpx2.HTTPError as error:
            raise WaypostError(f"{self._url} does not answer: {error}") from None


def _program() -> str:
    """Return how the command line is called from a shell that was not prepared for it."""
    own = Path(sys.executable).with_name("waypost")
    return "waypost" if shutil.which("waypost") or not own.exists() else str(own)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
