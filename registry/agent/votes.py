"""The votes of a node: one batch for each epoch, decided once and for ever.

- A batch is written to a file of its own, which is made once and never changed. Then the watermark
  of the role `votes` notes its hash, and only then a signature leaves the process. So whatever ends
  the process, and whenever: the same batch goes out again, or none.
- A watermark that is lost, or came out of a backup, says less than the key signed. Then nothing is
  signed for epochs that can have run before this process started: no epoch is shorter than
  `epoch_ms`, and nobody votes for one that has not begun by the clock.
- Every service gets all votes until it says of each that it is judged, noted, refused or
  contradicts another one; or until it is too late for them.

A file is SHA-256 of the record ‖ record.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import structlog

from ledger.codec import U8, U63, Bytes32, Codec, Record, encode
from ledger.crypto import KeyPair, sha256
from ledger.errors import Refusal
from ledger.messages.duty import Vote
from ledger.types import Epoch, Hash, Key
from registry.addresses import encode_node
from registry.client.services import ServiceRefused, Services
from registry.client.transport import Unavailable
from registry.files import add_checksum, create_durably, strip_checksum
from registry.wallet import sign_vote
from registry.watermarks import VOTES, SignerRefuses, Watermark, Watermarks

log = structlog.get_logger()

BATCH_VERSION: Final = 1
MAX_VOTES: Final = 1_000
MAX_BATCH_BYTES: Final = 100_000
KEPT_EPOCHS: Final = 2
"""Epochs whose batches are kept: those for which votes are still taken."""

ENDED: Final = ("judged", "noted", "contradiction", "refused")
"""What a service says of a vote that it does not have to get again."""

TOO_EARLY: Final = "verdict_closed"
"""Code of a refusal by a service that is behind, or of votes that come too late."""

MAX_REPLY_BYTES: Final = 2**19
"""The longest answer to a batch: half a kilobyte for each vote."""

State: TypeAlias = Literal["held", "noted", "judged", "contradiction", "refused"]


class Batch(Record, frozen=True):
    """All votes of a node for an epoch."""

    version: U8
    """`BATCH_VERSION`."""
    network: Bytes32
    """Hash of the genesis file."""
    tester: Bytes32
    """The node that votes."""
    epoch: U63
    votes: Annotated[tuple[Vote, ...], msgspec.Meta(max_length=MAX_VOTES)]
    """By ascending node."""


BATCH: Final[Codec[Batch]] = Codec(Batch, "batch of votes", MAX_BATCH_BYTES)


class _Row(msgspec.Struct):
    state: State
    code: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Row]


class Ballot:
    """Decides and signs; one process for each home."""

    def __init__(
        self,
        folder: Path,
        watermarks: Watermarks,
        node: Key,
        pair_of: Callable[[Epoch], KeyPair],
        latest_at_start: Callable[[], Epoch],
    ) -> None:
        """`pair_of` gives the duty key that the node has in an epoch.

        `latest_at_start` gives the highest epoch that can have run when this process started.
        """
        self._folder = folder
        self._watermarks = watermarks
        self._node = node
        self._pair_of = pair_of
        self._latest_at_start = latest_at_start
        self._marks: dict[Key, Watermark] = {}

    @property
    def network(self) -> Hash:
        """Hash of the genesis file."""
        return self._watermarks.network

    def check(self, epoch: Epoch) -> None:
        """Check that votes can be decided in an epoch, as none were. Raises `SignerRefuses`."""
        mark, latest = self._mark(epoch), self._latest_at_start()
        if not self._is_certain(epoch):
            what = "not there" if mark.number is None else "restored"
            raise SignerRefuses(
                f"the watermark {mark.path} is {what}, and this key may have voted up to epoch "
                f"{latest}: it votes from epoch {latest + 1} on, nothing has to be done"
            )
        if mark.number is not None and epoch <= mark.number:
            raise SignerRefuses(
                f"votes up to epoch {mark.number} were signed already, and those for epoch {epoch} "
                f"are not in {self._folder} any more"
            )

    def decide(self, epoch: Epoch, votes: Iterable[Vote]) -> Batch:
        """Return the batch of an epoch: these votes, or those that were decided before.

        Raises `SignerRefuses`, `WatermarkNotWritten`, and `OSError` where nothing can be written.
        """
        batch = self.load(epoch)
        if batch is None:
            self.check(epoch)
            ordered = tuple(sorted(votes, key=lambda vote: vote.node))
            batch = Batch(BATCH_VERSION, self.network, self._node, epoch, ordered)
            create_durably(self._path(epoch), add_checksum(encode(batch)), mode=0o600)
            self._forget(epoch)
        self._note(batch)
        return batch

    def sign(self, batch: Batch) -> list[dict[str, Any]]:
        """Return the votes of a batch as services take them."""
        pair = self._pair_of(batch.epoch)
        return [
            {
                "epoch": vote.epoch,
                "node": encode_node(vote.node),
                "life": vote.life,
                "faults": vote.faults,
                "tester": encode_node(batch.tester),
                "signature": sign_vote(batch.network, pair, vote).hex(),
            }
            for vote in batch.votes
        ]

    def load(self, epoch: Epoch) -> Batch | None:
        """Return what was decided in an epoch; None if nothing was.

        Raises `SignerRefuses` for a file that is damaged or somebody else's.
        """
        path = self._path(epoch)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BATCH_BYTES + 33)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SignerRefuses(f"{path} cannot be read: {error.strerror or error}") from None
        try:
            raw = strip_checksum(data)
            if raw is None:
                raise SignerRefuses(f"{path} is damaged: nothing is signed for epoch {epoch}")
            batch = BATCH.decode(raw)
        except Refusal as refusal:
            raise SignerRefuses(f"{path}: {refusal}") from None
        is_ours = (batch.network, batch.tester, batch.epoch) == (self.network, self._node, epoch)
        if batch.version != BATCH_VERSION or not is_ours:
            raise SignerRefuses(f"{path} is of another node, network, epoch or version")
        return batch

    def _note(self, batch: Batch) -> None:
        """Have the watermark know of a batch before it is signed.

        A file is the only decision that there ever was for its epoch, so an older one may go out
        without. It must not make a watermark certain that is not.
        """
        mark, digest = self._mark(batch.epoch), sha256(encode(batch))
        is_newest = mark.number is None or batch.epoch >= mark.number
        if is_newest and self._is_certain(batch.epoch):
            mark.advance(batch.epoch, digest)
        elif batch.epoch == mark.number and digest != mark.hash:
            raise SignerRefuses(f"other votes for epoch {batch.epoch} were signed already")

    def _is_certain(self, epoch: Epoch) -> bool:
        """Whether the watermark says all that the key can have signed for an epoch or later."""
        mark = self._mark(epoch)
        is_whole = mark.number is not None and not mark.is_restored
        return is_whole or epoch > self._latest_at_start()

    def _mark(self, epoch: Epoch) -> Watermark:
        key = self._pair_of(epoch).public
        if key not in self._marks:
            self._marks[key] = self._watermarks.open(VOTES, key)
        return self._marks[key]

    def _path(self, epoch: Epoch) -> Path:
        return self._folder / f"{epoch:020d}"

    def _forget(self, epoch: Epoch) -> None:
        """Remove the batches for which it is too late by now."""
        oldest = self._path(max(0, epoch - KEPT_EPOCHS + 1)).name
        for path in self._folder.glob("[0-9]*"):
            if path.name < oldest:
                path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------ sending


class Sending:
    """A batch on its way to every service."""

    def __init__(self, services: Services, batch: Batch, signed: list[dict[str, Any]]) -> None:
        """`signed` are the votes of the batch, in its order, as services take them."""
        self.batch = batch
        self._services = services
        self._signed = signed
        self._states: dict[str, list[str]] = {
            url: ["unsent"] * len(signed) for url in services.urls
        }

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """For each service how many votes are in which state."""
        return {url: dict(Counter(states)) for url, states in self._states.items()}

    @property
    def has_ended(self) -> bool:
        """Whether no service has to get any of them again."""
        return all(state in ENDED for states in self._states.values() for state in states)

    async def run(self, pause_s: float, is_open: Callable[[], bool]) -> None:
        """Send until every service has said its last, or while `is_open` says they are taken."""
        while is_open():
            await asyncio.gather(*(self._send(url) for url in self._services.urls))
            if self.has_ended:
                return
            await asyncio.sleep(pause_s)

    async def _send(self, url: str) -> None:
        states = self._states[url]
        places = [place for place, state in enumerate(states) if state not in ENDED]
        if not places:
            return
        body = {"votes": [self._signed[place] for place in places]}
        try:
            answer = await self._services.post_to(url, "/v1/verdicts", body, MAX_REPLY_BYTES)
            rows = msgspec.convert(answer, _Answer).results
            if len(rows) != len(places):
                raise Unavailable("it answers for other votes")
        except ServiceRefused as refused:
            if len(places) > 1:
                log.warning("votes not taken", service=url, reason=str(refused))
                return
            rows = [_Row("refused", refused.code)]
        except (Unavailable, msgspec.ValidationError) as error:
            log.info("votes not sent", service=url, reason=str(error))
            return
        for place, row in zip(places, rows, strict=True):
            self._take(url, place, row)

    def _take(self, url: str, place: int, row: _Row) -> None:
        # A service that is behind says this too; if it is right it is too late, and that ends all.
        is_early = row.state == "refused" and row.code == TOO_EARLY
        self._states[url][place] = "held" if is_early else row.state
        if row.state in ("contradiction", "refused") and not is_early:
            vote = self._signed[place]
            log.warning("vote refused", service=url, node=vote["node"], code=row.code or row.state)
