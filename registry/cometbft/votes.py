"""What keeps a validator from voting twice: CometBFT's own note of the newest vote of its key.

- It lies among the watermarks, where no backup reaches, under a name of network and key. CometBFT
  writes it before a vote leaves the process.
- A note that is damaged is refused, as is one with anything in it that CometBFT would not write: it
  never says that nothing was voted for.
- A key without a note counts as new only while its network is young and this home holds nothing of
  it. Else a person has to say so.
- Until the note holds a vote, CometBFT looks first whether the newest blocks bear one of the key.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from ledger.errors import Fault
from ledger.types import Hash, Key, TimeMs
from registry.files import create_durably
from registry.settings import Settings
from registry.signer import YOUNG_MS

NOTHING: Final = {"height": "0", "round": 0, "step": 0}
"""The note of a key that never voted."""

SIGNED: Final = {
    "signature": re.compile(r"[A-Za-z0-9+/]+={0,2}"),
    "signbytes": re.compile(r"(?:[0-9A-F]{2})+"),
}
"""What else CometBFT writes, where it signed something: Base64 and hex."""

HEIGHT: Final = re.compile(r"0|[1-9][0-9]{0,18}")
LAST_STEP: Final = 3
"""A precommit; 2 is a prevote, 1 a proposal, 0 nothing."""

MAX_HEIGHT: Final = 2**63 - 1
MAX_ROUND: Final = 2**31 - 1

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
        return _height_of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        raise ValidatorRefuses(
            f"{path} is damaged, and it alone says what this key voted for. "
            "docs/operating/validators.md says how to go on without it"
        ) from None


def _height_of(note: Any) -> int:
    """Return the height of a note. Raises `ValueError` for one that CometBFT would not write."""
    if not isinstance(note, dict) or note.keys() - NOTHING.keys() not in (set(), SIGNED.keys()):
        raise ValueError("other fields")
    if not NOTHING.keys() <= note.keys():
        raise ValueError("a field is missing")
    height = note["height"]
    if not isinstance(height, str) or not HEIGHT.fullmatch(height) or int(height) > MAX_HEIGHT:
        raise ValueError("no height")
    for name, most in (("round", MAX_ROUND), ("step", LAST_STEP)):
        # true is 1 to Python
        if type(note[name]) is not int or not 0 <= note[name] <= most:
            raise ValueError(f"no {name}")
    for name in note.keys() & SIGNED.keys():
        if not isinstance(note[name], str) or not SIGNED[name].fullmatch(note[name]):
            raise ValueError(f"no {name}")
    return int(height)


def _why_not_new(settings: Settings, start_ms: TimeMs, now_ms: TimeMs) -> str:
    if settings.database_path.exists():
        return f"this home has a database, {settings.database_path}"
    data = settings.cometbft_path / "data"
    if data.exists() and any(data.iterdir()):
        return f"CometBFT ran in this home, {data}"
    if now_ms - start_ms > YOUNG_MS:
        return "the network started more than an hour ago"
    return ""
