"""A small client of the service, for commands that ask or send. It believes what it is told:
`waypost list` is for what has to be proven.

    ServiceError
    ├── Refused         the service answers with a problem: its code, its text, its values
    ├── Unreachable     nobody answers; says what to start
    └── BadAnswer       what answers is no such service

Every answer is bounded, in its length and in its time. The HTTP library is imported with the first
request.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypeAlias, TypeVar

import msgspec
import typer

from ledger.errors import WaypostError, describe

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL: Final = "http://127.0.0.1:8420"

TIMEOUT_S: Final = 15.0
WAIT_S: Final = 75.0
"""For an answer that waits for a block; the service itself waits for 60 s at most."""
ANSWER_S: Final = 60.0
"""What a whole answer may take beyond that: the limits above are for each piece of it."""

MAX_ANSWER_BYTES: Final = 2**26

NOT_FOUND: Final = "not_found"

UrlOption: TypeAlias = Annotated[
    str, typer.Option("--url", envvar="WAYPOST_URL", help="The service to ask.")
]
"""The type of a command's parameter `url`, whose default is `DEFAULT_URL`."""

T = TypeVar("T")


class ServiceError(WaypostError):
    """Something is wrong with a request or its answer."""

    code = "service_error"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Unreachable(ServiceError):
    """Nobody answers."""

    code = "unreachable"


class BadAnswer(ServiceError):
    """The answer is none of this service."""

    code = "bad_answer"


class Refused(ServiceError):
    """The service refuses; nothing was changed. `code` and `values` are the problem's."""

    def __init__(self, code: str, text: str, values: dict[str, Any]) -> None:
        super().__init__(text)
        self.code = code
        self.values = values


class _Problem(msgspec.Struct):
    """An error as RFC 9457 has it, of which this is what counts here."""

    type: str
    detail: str
    values: dict[str, Any] = {}


class Service:
    """One service at a URL; a context manager that closes its connections."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client: httpx2.Client | None = None
        self.ahead_ms: int | None = None
        """How far its clock was ahead of this machine's at the newest answer; None if unknown."""
        self._until: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    def give(self, seconds: float) -> None:
        """Give everything that is asked from now on so many seconds together."""
        self._until = time.monotonic() + seconds

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """Return the JSON object that answers. Raises `ServiceError`."""
        return _read_object(self.url, self.get_bytes(path, **parameters))

    def find(self, path: str) -> dict[str, Any] | None:
        """Return what `get` does, or None where the service knows nothing of that name."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise
            return None

    def get_bytes(self, path: str, **parameters: str | int) -> bytes:
        """Return the body of the answer. Raises `ServiceError`."""
        return self._request("GET", path, TIMEOUT_S, params=parameters)

    def submit(self, raw: bytes, wait: bool) -> dict[str, Any]:
        """Send one transaction and return what became of it.

        Raises `Refused` with the ledger's code if it can never be in a block.
        """
        body = self._request(
            "POST",
            "/v1/transactions",
            WAIT_S if wait else TIMEOUT_S,
            params={"wait": "commit"} if wait else {},
            json={"transactions": [raw.hex()]},
        )
        row = convert(_read_object(self.url, body), Submission).results[0]
        if row.state not in ("pending", "committed"):
            raise Refused(row.code or row.state, row.detail or f"it was {row.state}", row.values)
        return msgspec.to_builtins(row)  # type: ignore[no-any-return]

    def post(self, path: str, fields: dict[str, str]) -> dict[str, Any]:
        """Send fields as JSON and return the JSON object that answers. Raises `ServiceError`."""
        return _read_object(self.url, self._request("POST", path, TIMEOUT_S, json=fields))

    def _request(self, method: str, path: str, timeout_s: float, **arguments: Any) -> bytes:
        import httpx2

        if self._client is None:
            # No proxies of the environment: the service is mostly on this very machine.
            self._client = httpx2.Client(trust_env=False)
        whole_s = self._get_limit(timeout_s)
        piece_s = min(timeout_s, whole_s)
        # there is a connection, or none, before it would have to be closed
        timeout = httpx2.Timeout(piece_s, connect=min(TIMEOUT_S, whole_s / 3))
        try:
            with (
                self._closing_after(self._client, whole_s),
                self._client.stream(
                    method, self.url + path, timeout=timeout, **arguments
                ) as response,
            ):
                return self._read(response)
        except httpx2.ConnectError as error:
            raise Unreachable(
                f"nothing answers at {self.url} ({error}): start a node with `waypost run` or a "
                "network with `waypost devnet`, or name another service with --url"
            ) from None
        except httpx2.TimeoutException:
            raise Unreachable(f"{self.url} did not answer within {piece_s:.3g} s") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise Unreachable(f"{self.url!r} is no URL such as {DEFAULT_URL}") from None
        except httpx2.HTTPError as error:
            raise Unreachable(f"{self.url} broke off: {describe(error)}") from None

    def _get_limit(self, timeout_s: float) -> float:
        """Return the seconds that a whole answer may take. Raises `Unreachable` if none is left."""
        limit_s = timeout_s + ANSWER_S
        if self._until is None:
            return limit_s
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise Unreachable(f"{self.url} is too slow: its time is over")
        return min(limit_s, left_s)

    @contextmanager
    def _closing_after(self, client: "httpx2.Client", seconds: float) -> Iterator[None]:
        """Close the connections of a client that is not done by then. Raises `Unreachable`."""
        is_over = threading.Event()

        def close() -> None:
            is_over.set()
            client.close()

        timer = threading.Timer(seconds, close)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception:
            # a connection that is closed under its reader breaks off in more than one way
            if not is_over.is_set():
                raise
            raise Unreachable(f"{self.url} took longer than {seconds:.3g} s to answer") from None
        finally:
            timer.cancel()
            timer.join()
            if is_over.is_set():
                self._client = None

    def _read(self, response: "httpx2.Response") -> bytes:
        self._note_clock(response.headers.get("date", ""))
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise BadAnswer(f"{self.url} answers with more than {MAX_ANSWER_BYTES} bytes")
        if response.is_success:
            return bytes(body)
        try:
            problem = msgspec.json.decode(bytes(body), type=_Problem)
        except (ValueError, RecursionError):
            raise BadAnswer(
                f"{self.url} answers {response.status_code} without a reason: is it a Waypost "
                "service?"
            ) from None
        raise Refused(problem.type, problem.detail, problem.values)

    def _note_clock(self, date: str) -> None:
        from registry.client.transport import find_ahead_ms

        ahead_ms = find_ahead_ms(date)
        if ahead_ms is not None:
            self.ahead_ms = ahead_ms


def _read_object(url: str, body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise BadAnswer(f"{url} answers with no JSON object: is it a Waypost service?") from None


def convert(answer: Any, shape: type[T]) -> T:
    """Return an answer's fields that `shape` names. Raises `BadAnswer`."""
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise BadAnswer(
            f"the service answers in another way than this program expects: {error}"
        ) from None


# ------------------------------------------------------------------------- shapes of answers

Units: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,19}$")]
"""An amount: atomic units as a decimal string."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that goes into a transaction: one that no record has room for is no answer."""


class Network(msgspec.Struct):
    """Of the network's summary what commands work with."""

    chain: str
    genesis_hash: str
    height: Count
    time_ms: Count
    minimum_fee: Units


class Tip(msgspec.Struct):
    """Of the network's summary where the chain ends."""

    height: int
    state_root: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Account(msgspec.Struct):
    """An account."""

    account: str
    balance: Units
    nonce: Count
    stakes: list["Stake"]
    rewards: list["Claimable"]
    claimable: Units


class Stake(msgspec.Struct):
    """An account's stake in a node."""

    node: str
    amount: Units


class Claimable(msgspec.Struct):
    """What waits in a node for an account."""

    node: str
    claimable: Units


class Contact(msgspec.Struct):
    """Where a node can be reached."""

    ipv4: str | None
    ipv6: str | None
    storage_port: int
    router_port: int
    storage_version: tuple[int, int, int]
    router_version: tuple[int, int, int]


class Contribution(msgspec.Struct):
    """One contributor's stake, or a place that is kept for one."""

    account: str
    amount: Units


class Node(msgspec.Struct):
    """A node."""

    key: str
    state: str
    since_ms: int
    life: int
    operator: str
    fee: int
    requirement: Units
    staked: Units
    open: Units
    open_places: int
    contributions: list[Contribution]
    reserved: list[Contribution]
    reserved_until_ms: int | None
    contact: Contact
    pending_contact: Contact | None
    swarm: str | None
    list_key: str | None
    contact_sequence: int
    queue_position: int | None
    exit_ms: int | None
    payout_ms: int | None
    next_step: str


class NodePage(msgspec.Struct):
    """Some nodes, and the cursor of those that follow."""

    height: int
    nodes: list[dict[str, Any]]
    next: str | None


class Row(msgspec.Struct):
    """What became of a transaction that was sent."""

    hash: str
    state: str
    height: int | None
    index: int | None
    code: str | None
    detail: str | None
    values: dict[str, Any]


class Submission(msgspec.Struct):
    """What became of the transactions that were sent."""

    results: Annotated[list[Row], msgspec.Meta(min_length=1)]


class Penalty(msgspec.Struct):
    """What an offence costs whom."""

    offence: str
    key: str
    role: str
    node: str | None
    epoch: int
    taken: Units
    bounty: Units
    tombstones: bool


class Report(msgspec.Struct):
    """One offence that was punished, with its evidence."""

    height: int
    index: int
    time_ms: int
    penalty: Penalty
    reporter: str | None
    transaction: str | None
    evidence: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")]


class ReportPage(msgspec.Struct):
    """Some reports, and the cursor of those that follow."""

    height: int
    reports: list[dict[str, Any]]
    next: str | None


class Proof(msgspec.Struct):
    """The proof of a record; what else the answer says is in it."""

    proof: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")]


HexKey: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class ParameterValue(msgspec.Struct):
    """A parameter of the network, in force and announced."""

    name: str
    unit: str
    value: Units
    next: Units | None


class SetSeat(msgspec.Struct):
    """A seat of an attestor set."""

    list_key: HexKey
    weight: int


class Rules(msgspec.Struct):
    """The rules that orders change."""

    time_ms: int
    epoch: int
    parameters: list[ParameterValue]
    parameters_from_ms: int | None
    parameters_earliest_ms: int
    attestors: list[SetSeat]
    next_attestors: list[SetSeat]
    ordered: list[SetSeat]
    ordered_by: str | None
    ordered_begin: int | None
    attestors_earliest_ms: int
    recovery: list[HexKey]
    successor: HexKey | None
    successor_from_ms: int | None
    successor_earliest_ms: int
    has_moved: bool
    last_epoch: int | None
