"""`waypost account`: what an account has, and sending coins."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.amounts import format_amount
from registry.cli.arguments import ADDRESS, AMOUNT, KEY_FILE, parse_account, parse_amount
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, align, emit, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, WaitOption

if TYPE_CHECKING:
    from registry.cli import http

app = typer.Typer(no_args_is_help=True)


@app.command()
def show(
    account: Annotated[
        bytes,
        typer.Argument(
            parser=parse_account, metavar=ADDRESS, help="The account.", show_default=False
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what an account can spend, and its stakes."""
    from registry.addresses import encode_account
    from registry.cli.http import Account, Service, convert

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/accounts/{encode_account(account)}")
        known = convert(answer, Account)
        emit(answer, output, lambda: _format(known))


@app.command()
def send(
    source: Annotated[
        Path, typer.Option("--from", metavar=KEY_FILE, help="Key file of the account that pays.")
    ],
    to: Annotated[
        bytes, typer.Option(parser=parse_account, metavar=ADDRESS, help="Account that receives.")
    ],
    amount: Annotated[
        int,
        typer.Option(
            parser=parse_amount, metavar=AMOUNT, help="Coins, or atomic units such as `5u`."
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send coins from one account to another."""
    from registry.addresses import encode_account
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, get_target, send_paid

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed = keys.load(source)
        target = get_target(service, genesis)
        row = send_paid(
            service,
            target,
            seed,
            lambda wallet, terms: wallet.transfer(terms, to, amount),
            wait,
        )
        recipient = encode_account(to)
        what = f"sent {format_amount(amount)} to {recipient}"
        emit_sent(row, output, what, target, to=recipient, amount=str(amount))


def _format(account: "http.Account") -> str:
    stakes = [
        ("stake", f"{format_amount(int(stake.amount))} in {stake.node}") for stake in account.stakes
    ]
    return align(
        [
            ("account", account.account),
            ("balance", format_amount(int(account.balance))),
            ("nonce", str(account.nonce)),
            ("claimable", f"{format_amount(int(account.claimable))} of rewards"),
            *(stakes or [("stakes", "none")]),
        ]
    )
