"""What keeps a validator from voting twice: CometBFT's own note of the newest vote of its key.

- It lies among the watermarks, where no backup reaches, under a name of network and key. CometBFT
  writes it before a vote leaves the process.
- A note that is damaged is refused: it never says that nothing was voted for.
- A key without a note counts as new only while its network is young and this home holds nothing of
  it. Else a person has to say so.
- Until the note holds a vote, CometBFT looks first whether the newest blocks bear one of the key.
"""

import json
from pathlib import Path
from typing import Final

from ledger.errors import Fault
from ledger.types import Hash, Key, TimeMs
from registry.files import create_durably
from registry.settings import Settings
from registry.signer import YOUNG_MS

NOTHING: Final = {"height": "0", "round": 0, "step": 0}
"""The note of a key that never voted."""

DIGITS: Final = 16
"""Hex digits of network and of key in the name of a note."""


class ValidatorRefuses(Fault):
    """Voting might contradict what was voted for before; the message says what to do."""


def path_of(settings: Settings, network: Hash, key: Key) -> Path:
    """Return where the votes of a key in a network are noted."""
    return settings.watermark_path / f"votes-{network.hex()[:DIGITS]}-{key.hex()[:DIGITS]}.json"


def hold_votes(
    settings: Settings, network: Hash, key: Key, start_ms: TimeMs, now_ms: TimeMs
) -> bool:
    """See that the note of a key is there; return whether it holds a vote already.

    Raises `ValidatorRefuses`.
    """
    path = path_of(settings, network, key)
    height = read_height(path)
    if height is not None:
        return height > 0
    why = _why_not_new(settings, start_ms, now_ms)
    if why and not settings.new_watermark:
        raise ValidatorRefuses(
            f"there is no note of the votes of the key {key.hex()} ({path}), and it may have "
            f"voted: {why}. Bring {path.name} from where it voted last. Only if it never voted in "
            "this network, or if where it did is off for good, start once with --new-watermark"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_nothing(path)
    return False


def write_nothing(path: Path) -> None:
    """Make the note of a key that never voted."""
    create_durably(path, json.dumps(NOTHING, indent=2).encode(), mode=0o600)


def read_height(path: Path) -> int | None:
    """Return the height of the newest vote, 0 for none, or None if there is no note.

    Raises `ValidatorRefuses` for one that cannot be read.
    """
    try:
        note = json.loads(path.read_bytes())
        height = int(note["height"])
        if height < 0:
            raise ValueError(height)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        raise ValidatorRefuses(
            f"{path} is damaged, and it alone says what this key voted for. "
            "docs/operating/validators.md says how to go on without it"
        ) from None
    return height


def _why_not_new(settings: Settings, start_ms: TimeMs, now_ms: TimeMs) -> str:
    if settings.database_path.exists():
        return f"this home has a database, {settings.database_path}"
    data = settings.cometbft_path / "data"
    if data.exists() and any(data.iterdir()):
        return f"CometBFT ran in this home, {data}"
    if now_ms - start_ms > YOUNG_MS:
        return "the network started more than an hour ago"
    return ""
