"""`waypost tx`: what became of a transaction, and sending one that is signed already.

show        a transaction, and what became of it
build       one for keys that are elsewhere (building.py)
inspect     what such a file says (offline.py)
sign        sign it, without a network (offline.py)
send        send what is signed
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.errors import WaypostError
from registry.cli import building
from registry.cli.arguments import parser
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.offline import inspect, read_file, sign
from registry.cli.output import Output, OutputOption, align, emit, refusals
from registry.cli.sending import WaitOption

if TYPE_CHECKING:
    from registry.cli.http import Service

MAX_FILE_BYTES: Final = 2**18
"""Twice the hex of the longest transaction that any network allows, with room for newlines."""

app = typer.Typer(no_args_is_help=True)


class NoTransaction(WaypostError):
    """A file holds what cannot be a transaction."""


@parser
def _parse_hash(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError(f"{text!r} is no hash: 64 hex digits")
    return text.lower()


@app.command()
def show(
    hash: Annotated[
        str,
        typer.Argument(
            parser=_parse_hash, metavar="HASH", help="SHA-256 of its bytes.", show_default=False
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show a transaction, and what became of it."""
    from registry.cli.http import Service

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/transactions/{hash}")
        emit(answer, output, lambda: _format(answer))


app.add_typer(building.app, name="build")
app.command()(inspect)
app.command()(sign)


@app.command()
def send(
    file: Annotated[
        Path,
        typer.Argument(
            allow_dash=True,
            help="One transaction: a file of `tx build` that is signed, or hex or bytes; `-` is "
            "the standard input.",
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    wait: WaitOption = True,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send a transaction that is signed already; to send one again is safe."""
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, send

    with refusals(), Service(url) as service:
        row = send(service, _read(file, service), wait)
        emit_sent(row, output, "transaction")


def _read(file: Path, service: "Service") -> bytes:
    """Return the bytes of a transaction, for the network of a service if its file names one.

    Raises `NoTransaction`, `BadDraft`, `NotSigned` and `WrongNetwork`.
    """
    raw = read_file(file)
    if raw.startswith(b"{"):
        return _finish(raw, service)
    if len(raw) > MAX_FILE_BYTES:
        raise NoTransaction(f"{file} is longer than any transaction")
    try:
        # a transaction's first byte is no character, so bytes are never taken for hex
        return bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        return raw


def _finish(raw: bytes, service: "Service") -> bytes:
    from registry.cli.http import Network, convert
    from registry.cli.sending import WrongNetwork
    from registry.drafts import finish, read_draft

    draft = read_draft(raw)
    signed = finish(draft)
    network = convert(service.get("/v1/network"), Network)
    if network.genesis_hash != draft.genesis_hash.hex():
        raise WrongNetwork(
            f"{service.url} serves the network {network.chain} with the genesis "
            f"{network.genesis_hash}, this is for {draft.genesis_hash.hex()}"
        )
    return signed


def _format(answer: dict[str, Any]) -> str:
    import json

    facts = [(name, answer.get(name)) for name in ("hash", "state", "height", "index", "kind")]
    facts += [(name, answer.get(name)) for name in ("code", "detail", "sender", "nonce", "expiry")]
    body = answer.get("body")
    fields = body.items() if isinstance(body, dict) else ()
    shown = [(name, value) for name, value in facts if value is not None]
    shown += [(f"body {name}", json.dumps(value)) for name, value in fields]
    return align([(name, str(value)) for name, value in shown])
