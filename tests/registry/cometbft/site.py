"""A home of a node of validators, and a program that says it is CometBFT.

Site        genesis file, key file and settings of one founder, in a folder
"""

import stat
from pathlib import Path
from typing import Any, Final

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.genesis import COMET, Genesis, GenesisAttestor
from registry.cometbft import VERSION
from registry.keystore import derive, save_insecure_seed
from registry.settings import Settings
from registry.signer import YOUNG_MS
from tests.factory import START_MS, make_genesis
from tests.registry.cli.fake_service import seed_of

SEED: Final = seed_of("founder")
KEY: Final = derive(SEED, "consensus")

YOUNG: Final = START_MS + YOUNG_MS
"""The last moment at which the network counts as young."""


def make_program(path: Path, says: str = VERSION) -> Path:
    """A program that answers like `cometbft version`, and does nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Site:
    """What a founder has who starts for the first time."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        seat = GenesisAttestor(derive(SEED, "list").public, 1, bytes(32), KEY.public)
        fields = {"engine": COMET, "producer": b"", "attestors": (seat,)} | changes
        self.genesis: Genesis = make_genesis(None, **fields)
        self.raw = encode(self.genesis)
        self.network = sha256(self.raw)
        (self.home / "genesis.bin").write_bytes(self.raw)
        self.key_file = self.home / "key.json"
        save_insecure_seed(self.key_file, SEED)
        self.program = make_program(folder / "bin" / "cometbft")

    def settings(self, **changes: Any) -> Settings:
        """Settings of a validator."""
        fields = {"validator": self.key_file, "cometbft": self.program} | changes
        return Settings(home=self.home, engine="comet", **fields)

    @property
    def votes(self) -> Path:
        """Where the votes of the founder are noted."""
        name = f"votes-{self.network.hex()[:16]}-{KEY.public.hex()[:16]}.json"
        return self.home / "watermarks" / name

    def files(self) -> dict[str, bytes]:
        """Every file of the home, by its name from there."""
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in sorted(self.home.rglob("*"))
            if path.is_file()
        }
