"""The newest check-in of each node: by it a service knows whose agent is there.

- They are for warnings only. They are held in memory and nowhere else, by each service for itself:
  agents send theirs to every service that they know.
- All that is cheap is checked before the signature. One that is held already is taken again.
- A node of the ledger has one at most; whoever is no node any more has none.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from ledger.chain import Chain, Executed
from ledger.errors import Refusal
from ledger.messages.blocks import Block
from ledger.messages.checkins import SIGNED_CHECK_IN, CheckIn, check_in_signed
from ledger.messages.duty import name_faults
from ledger.messages.tables import NODES
from ledger.types import Key, TimeMs
from registry.addresses import encode_node
from registry.ipc import Busy
from registry.workers import Verifier

MOST_OFF_MS: Final = 300_000
"""How far the time of a check-in may be from this machine's clock, either way."""

MAX_ARRIVING: Final = 1_000
"""Check-ins whose signatures are looked at at a time."""


class CheckIns:
    """Holds the check-ins of one chain's nodes; used on the chain's thread only."""

    def __init__(self, chain: Chain, verifier: Verifier) -> None:
        self._chain = chain
        self._verifier = verifier
        self._arriving = 0
        self.newest: dict[Key, CheckIn] = {}
        """By node."""

    async def add(self, raw: bytes) -> dict[str, Any]:
        """Take a signed check-in, and answer what became of it: `code` is None if it was taken.

        Else it is one of the ledger's codes, or `check_in_time` or `check_in_old` of the API.
        Raises `Busy` if too many arrive.
        """
        if self._arriving >= MAX_ARRIVING:
            raise Busy("too many check-ins arrive")
        self._arriving += 1
        try:
            return await self._add(raw)
        except Refusal as refusal:
            return _refused(refusal.code, refusal.values)
        finally:
            self._arriving -= 1

    async def _add(self, raw: bytes) -> dict[str, Any]:
        sent = SIGNED_CHECK_IN.decode(raw)
        check_in = sent.check_in
        refused = self._check(check_in)
        if refused is not None:
            return refused
        items = [check_in_signed(self._chain.genesis_hash, sent)]
        if await self._verifier.verify(items) != [True]:
            raise Refusal("bad_signature")
        # another one, or a block, may have come since it was checked
        refused = self._check(check_in)
        if refused is not None:
            return refused
        self.newest[check_in.node] = check_in
        return {
            "node": encode_node(check_in.node),
            "time_ms": check_in.time_ms,
            "now_ms": _now_ms(),
            "code": None,
            "values": {},
        }

    def _check(self, check_in: CheckIn) -> dict[str, Any] | None:
        """Return how a check-in is refused, without a look at its signature."""
        now_ms = _now_ms()
        if self._chain.view().state.get(NODES, check_in.node) is None:
            return _refused("unknown_node", {})
        if abs(check_in.time_ms - now_ms) > MOST_OFF_MS:
            values = {"time_ms": check_in.time_ms, "now_ms": now_ms, "most_ms": MOST_OFF_MS}
            return _refused("check_in_time", values)
        held = self.newest.get(check_in.node)
        if held is not None and held != check_in and held.time_ms >= check_in.time_ms:
            return _refused("check_in_old", {"newest_ms": held.time_ms})
        return None

    async def on_commit(self, _block: Block, executed: Executed) -> None:
        """Let go of those of nodes that are gone: nodes go at an epoch's end."""
        if executed.ended_epoch:
            state = self._chain.view().state
            for key in [key for key in self.newest if state.get(NODES, key) is None]:
                del self.newest[key]


def _now_ms() -> TimeMs:
    return time.time_ns() // 1_000_000


def _refused(code: str, values: Mapping[str, int | str]) -> dict[str, Any]:
    return {"node": None, "time_ms": None, "now_ms": None, "code": code, "values": dict(values)}


def show_check_in(check_in: CheckIn | None) -> dict[str, Any]:
    """Return what the status of a node says of its agent; all is null before its first check-in."""
    if check_in is None:
        return {"checked_in_ms": None, "agent_version": None, "agent_faults": None}
    version = check_in.version
    return {
        "checked_in_ms": check_in.time_ms,
        "agent_version": [version.major, version.minor, version.patch],
        "agent_faults": name_faults(check_in.faults),
    }
