"""What the web side needs from the ledger process: one small port.

The web process stands `registry.web_process.Link` behind it, tests a ledger in memory.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

OnEvent: TypeAlias = Callable[[str, Any], None]
"""Takes a push: the name of the event and its payload as plain values."""


class Ledger(Protocol):
    """The ledger process, as far as requests see it."""

    @property
    def is_connected(self) -> bool:
        """Whether a call has a chance right now."""

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return what the ledger process answers, as plain values.

        Raises `ledger.errors.Refusal`, and `Busy`, `Gone` and `Lost` of `registry.ipc`.
        """

    def subscribe(self, on_event: OnEvent) -> None:
        """Have each push handed to `on_event`, which does not raise; also after a reconnection."""
