"""Signing where no network is: `waypost tx build`, `tx sign` and `tx inspect`.

`build` asks a service and needs no key; `sign` needs keys and asks nobody; `send` (tx.py) needs
neither. What goes between the machines is a draft (`registry.drafts`), and what people see of it
is decoded from its bytes.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from ledger.errors import WaypostError
from registry.amounts import format_amount, format_share, format_time
from registry.cli.arguments import KEY_FILE
from registry.cli.output import Output, OutputOption, align, emit, printable, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile

if TYPE_CHECKING:
    from registry.drafts import Draft

PARTS: Final = ("fee",)
"""Fields of a body in parts of 10,000."""

DraftFile: TypeAlias = Annotated[
    Path, typer.Argument(help="File that `waypost tx build` wrote.", show_default=False)
]
OfflineGenesis: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--genesis", help="Genesis file of the network that is meant; else compare its hash."
    ),
]


class NotConfirmed(WaypostError):
    """Nobody said that this is to be signed."""


def inspect(
    file: DraftFile, genesis: OfflineGenesis = None, output: OutputOption = Output.TEXT
) -> None:
    """Show what a file of `waypost tx build` says, from its bytes, and who signed it. Offline."""
    with refusals():
        draft = open_draft(file)
        check_genesis(draft, genesis)
        facts = describe_draft(draft, genesis is not None)
        emit({"file": str(file)} | facts, output, lambda: format_draft(facts))


def sign(
    file: DraftFile,
    source: Annotated[
        list[Path],
        typer.Option(
            "--from", metavar=KEY_FILE, help="Key file that signs; may be repeated, in any order."
        ),
    ],
    genesis: OfflineGenesis = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: what the file says was read before.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Sign a file of `waypost tx build`, on a machine that needs no network.

    It shows what is signed, decoded from the bytes and nothing else, and asks; then it adds to the
    file every signature for which a key is at hand. A node signs before the account that pays.
    """
    from registry.drafts import sign_draft, write_draft
    from registry.files import write_durably

    if str(file) == "-":
        raise typer.BadParameter("name a file: the signatures are added to it")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals():
        draft = open_draft(file)
        check_genesis(draft, genesis)
        if not yes:
            _confirm(describe_draft(draft, genesis is not None))
        draft, signed = sign_draft(draft, [keys.load(path) for path in source])
        write_durably(file, write_draft(draft), mode=file.stat().st_mode & 0o777)
        facts = {"file": str(file)} | describe_draft(draft, genesis is not None)
        facts["signed"] = [slot.role for slot in signed]
        emit(facts, output, lambda: format_draft(facts))


def _confirm(facts: dict[str, Any]) -> None:
    from registry.cli.terminal import ask, has_terminal, say

    if not has_terminal():
        raise NotConfirmed(
            "there is no terminal to ask in: read it with `waypost tx inspect`, then give --yes"
        )
    say(printable(format_draft(facts)) + "\n")
    if ask("Sign this? Type yes: ").strip().lower() != "yes":
        raise NotConfirmed("nothing was signed, the file is as it was")


# --- files --------------------------------------------------------------------------------------


def open_draft(file: Path) -> "Draft":
    """Return what a file holds. Raises `BadDraft`."""
    from registry.drafts import BadDraft, read_draft

    try:
        return read_draft(read_file(file))
    except BadDraft as error:
        raise BadDraft(f"{file}: {error}") from None


def read_file(file: Path) -> bytes:
    """Return the bytes of a file, or of the standard input for `-`; a few more than any has."""
    from registry.drafts import MAX_FILE_BYTES

    stream = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with stream:
        return stream.read(MAX_FILE_BYTES + 1)


def save_draft(draft: "Draft", out: Path, output: Output) -> None:
    """Write a new file, and show what it says. Raises `FileExistsError`."""
    from registry.drafts import write_draft
    from registry.files import create_durably

    create_durably(out, write_draft(draft))
    facts = describe_draft(draft, is_proven=False)
    emit({"file": str(out)} | facts, output, lambda: format_draft(facts))


def check_genesis(draft: "Draft", genesis: Path | None) -> None:
    """Check that a draft is for the network of a genesis file. Raises `WrongNetwork`."""
    from ledger.crypto import sha256
    from ledger.genesis import load_genesis
    from registry.cli.sending import WrongNetwork

    if genesis is None:
        return
    raw = genesis.read_bytes()
    name = load_genesis(raw).name.decode()
    if (sha256(raw), name) != (draft.genesis_hash, draft.network):
        raise WrongNetwork(
            f"this is for the network {draft.network} with the genesis {draft.genesis_hash.hex()}, "
            f"{genesis} is {name} with {sha256(raw).hex()}"
        )


# --- what is shown ------------------------------------------------------------------------------


def describe_draft(draft: "Draft", is_proven: bool) -> dict[str, Any]:
    """Return what a draft says; `is_proven` if its network was compared with a genesis file."""
    from registry.drafts import describe, hash_of, list_missing

    return {
        "network": draft.network,
        "genesis_hash": draft.genesis_hash.hex(),
        "network_compared": is_proven,
        **describe(draft.transaction),
        "hash": hash_of(draft),
        "missing": [{"role": slot.role, "key": slot.key.hex()} for slot in list_missing(draft)],
    }


def format_draft(facts: dict[str, Any]) -> str:
    """Return what `describe_draft` says, in words."""
    compared = "" if facts["network_compared"] else " (a name only: compare the genesis hash)"
    lines = [
        ("network", facts["network"] + compared),
        ("genesis", facts["genesis_hash"]),
        *format_transaction(facts),
        *(("not signed", f"{row['role']} key {row['key']}") for row in facts["missing"]),
    ]
    if facts["hash"] is not None:
        lines.append(("hash", f"{facts['hash']}: signed, `waypost tx send` sends it"))
    return align(lines)


def format_transaction(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a transaction as `registry.drafts.describe` has it, line by line."""
    lines = [("transaction", facts["kind"].replace("_", " "))]
    if "sender" in facts:
        lines += [
            ("paid by", f"{facts['sender']}, transaction {facts['nonce']} of this account"),
            ("takes", f"{format_amount(int(facts['takes']))} from it"),
            ("of it fee", format_amount(int(facts["fee"]))),
            ("valid", f"up to block {facts['expiry']}"),
        ]
    return lines + _format_fields(facts["body"])


def _format_fields(fields: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return fields as lines, those of a record in them behind its name."""
    lines: list[tuple[str, str]] = []
    for name, value in fields.items():
        label = before + name.removesuffix("_ms").replace("_", " ")
        if name in ("registration", "update", "change"):
            lines += _format_fields(value)
        elif isinstance(value, dict):
            lines += _format_fields(value, f"{label} ")
        elif isinstance(value, list):
            for item in value or [{}]:
                lines += _format_fields(item, f"{label} ") if item else [(label, "none")]
        else:
            lines.append((label, _format_value(name, value)))
    return lines


def _format_value(name: str, value: Any) -> str:
    if name in ("amount", "stake"):
        return format_amount(int(value))
    if name.endswith("_ms"):
        return format_time(value)
    if name in PARTS:
        return f"{format_share(value)} of the rewards"
    return str(value) or "none"
