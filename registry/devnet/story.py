"""What happens on a development network, and what one sees of it.

The faucet funds 25 operators and some contributors, each operator registers a node, contributors
fill up the nodes that are not fully funded; then each list that becomes final is fetched and
verified like any client does it, from the genesis file alone.
"""

import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import httpx2

from ledger.crypto import KeyPair, sha256
from ledger.errors import WaypostError
from ledger.messages.contact import Contact, Version
from ledger.messages.genesis import COMET, GENESIS
from ledger.params import Params
from ledger.types import BASIS_POINTS, COIN, Amount, Key
from registry.addresses import encode_account, encode_node
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.client.transport import Unavailable
from registry.keystore import derive, named_seed
from registry.wallet import NodeTerms, Terms, Wallet, sign_registration

NODES: Final = 25
SHARED_EVERY: Final = 5
"""One node in so many has an operator with a quarter of the stake and a contributor."""

POCKET: Final = 10 * COIN
"""What accounts get beside their stake, for fees."""

LIFETIME_BLOCKS: Final = 600
REGISTRATION_MS: Final = 3_600_000
START_S: Final = 60.0
POLL_S: Final = 0.5
TIMEOUT_S: Final = 30.0


class Story:
    """One run of a development network, told on standard output."""

    def __init__(self, seed: bytes, genesis: bytes, url: str) -> None:
        self._seed = seed
        self._genesis = genesis
        self._genesis_hash = sha256(genesis)
        parsed = GENESIS.decode(genesis)
        self._params = Params(*parsed.params)
        seats = len(parsed.attestors)
        self._cast = (
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
            self.say(f"  service    {self._url}   (described at {self._url}/openapi.json)")
            self.say(f"  {self._cast}, each executes every block itself")
            return True
        return False

    def play(self) -> None:
        """Play the story until stopped; what goes wrong is told, and ends it."""
        try:
            self._fund()
            self._register()
            self._contribute()
            self._watch()
        except WaypostError as error:
            if not self._stop.is_set():
                self.say(f"error: {error}")

    def say(self, text: str) -> None:
        """Tell one line."""
        print(text, flush=True)

    def _tell(self, text: str) -> None:
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
        wanted = [(self._account(f"operator {n}"), self._stake(n)) for n in range(NODES)]
        wanted += [
            (self._account(f"contributor {n}"), self._params.staking_requirement)
            for n in range(0, NODES, SHARED_EVERY)
        ]
        poor = [(pair, amount) for pair, amount in wanted if not self._is_known(pair.public)]
        raws = [
            faucet.transfer(terms._replace(nonce=terms.nonce + place), pair.public, amount + POCKET)
            for place, (pair, amount) in enumerate(poor)
        ]
        if raws:
            height = self._send(raws)[-1]["height"]
            self._tell(f"{len(raws)} accounts funded by the faucet, block {height}")

    def _register(self) -> None:
        raws = []
        for number in range(NODES):
            wallet = self._wallet(f"operator {number}")
            if self._get_node(number) is not None:
                continue
            registration = sign_registration(
                self._genesis_hash,
                self._node_seed(number),
                NodeTerms(
                    life=1,
                    operator=wallet.account,
                    beneficiary=wallet.account,
                    fee=500,
                    reserved=(),
                    contact=_contact(number),
                    expiry_ms=time.time_ns() // 1_000_000 + REGISTRATION_MS,
                    attests=False,
                ),
                self._stake(number),
            )
            raws.append(wallet.register(self._terms(wallet.account), registration))
        if raws:
            height = self._send(raws)[-1]["height"]
            self._tell(f"{len(raws)} nodes registered by {len(raws)} transactions, block {height}")

    def _contribute(self) -> None:
        raws = []
        for number in range(0, NODES, SHARED_EVERY):
            node = self._get_node(number)
            if node is None or node["state"] != "awaiting":
                continue
            wallet = self._wallet(f"contributor {number}")
            key = derive(self._node_seed(number), "node").public
            raws.append(wallet.contribute(self._terms(wallet.account), key, 1, int(node["open"])))
        if raws:
            height = self._send(raws)[-1]["height"]
            self._tell(f"{len(raws)} nodes filled up by contributors, block {height}")

    # ---------------------------------------------------------------------- watching

    def _watch(self) -> None:
        """Verify each list that becomes final, and tell of it."""
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
            self._tell_list(lists)
            if lists.header.node_count and not shown:
                self._say_where_to_look()
                shown = True

    def _tell_list(self, lists: TrustedLists) -> None:
        header, signers = lists.header, lists.signers
        self._tell(
            f"epoch {header.epoch} ended: list of {header.node_count} nodes in "
            f"{header.swarm_count} swarms, final by {signers.signed} of {signers.seats} "
            f"attestors, verified from the genesis file"
        )
        self.say(f"           fingerprint: {' '.join(lists.fingerprint)}")

    def _say_where_to_look(self) -> None:
        node = encode_node(derive(self._node_seed(0), "node").public)
        at = "" if self._url.endswith(":8420") else f"export WAYPOST_URL={self._url}; "
        self.say("           look around, in another terminal:")
        for command in ("list fetch", "list show", "node list", f"node status {node}"):
            self.say(f"             {at}{_program()} {command}")
        self.say("           Ctrl-C stops everything; the next start goes on; --fresh starts over")

    # ------------------------------------------------------------------------ helpers

    def _node_seed(self, number: int) -> bytes:
        return named_seed(self._seed, f"node {number}")

    def _account(self, name: str) -> KeyPair:
        return derive(named_seed(self._seed, name), "account")

    def _wallet(self, name: str) -> Wallet:
        return Wallet(self._genesis_hash, self._account(name))

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

    def _get_node(self, number: int) -> dict[str, Any] | None:
        key = encode_node(derive(self._node_seed(number), "node").public)
        response = self._request("GET", f"/v1/nodes/{key}")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return None
        node: dict[str, Any] = response.json()
        return node

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


def _contact(number: int) -> Contact:
    """Return contact data on loopback, five nodes to each of several /24 networks."""
    address = bytes((127, 10, number // 5, 10 + number % 5))
    return Contact(address, b"", 22021, 22020, Version(2, 11, 0), Version(11, 6, 0))


def _program() -> str:
    """Return how the command line is called from a shell that was not prepared for it."""
    own = Path(sys.executable).with_name("waypost")
    return "waypost" if shutil.which("waypost") or not own.exists() else str(own)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
