"""What `waypost warn` is told: flags over environment over `warn.toml` in its home.

A variable is `WAYPOST_WARN_` and the name in capitals. Secrets come from files alone.
"""

from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from registry.addresses import decode_account, decode_node, encode_account, encode_node
from registry.home import default_home
from registry.settings import BadSettings, load

CONFIG: Final = "warn.toml"
PREFIX: Final = "WAYPOST_WARN_"

MAX_SECRET_BYTES: Final = 4_096

NodeName: TypeAlias = Annotated[str, AfterValidator(lambda text: encode_node(decode_node(text)))]
AccountName: TypeAlias = Annotated[
    str, AfterValidator(lambda text: encode_account(decode_account(text)))
]
HttpUrl: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s,\"\\]+$")]
HostPort: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\s@,\"\\]+:\d{1,5}$")]
ServiceUrl: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s,\"\\@]+$")]
"""One without a user's name, since messages and gauges show it."""


def _check_mail_address(text: str) -> str:
    """Return an address that fits into the head of a mail. Raises `ValueError`."""
    address = Address(addr_spec=text)  # what it cannot read it refuses
    if not text.isascii() or str(address) != text:
        raise ValueError(f"{text!r} is no plain mail address")
    return text


MailAddress: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^[^\s@,<>\"\\]+@[^\s@,<>\"\\]+$", max_length=254),
    AfterValidator(_check_mail_address),
]


class WarnSettings(BaseSettings):
    """Everything that `waypost warn` may be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path
    """Folder of what was told and what waits to be sent; for one process at a time."""
    node: tuple[NodeName, ...] = ()
    """Nodes to watch."""
    operator: AccountName | None = None
    """Account whose nodes are watched, those to come too."""
    service: tuple[ServiceUrl, ...] = ("http://127.0.0.1:8420",)
    """Services to ask; the first one that is up to date is listened to, the others compared."""
    genesis: Path | None = None
    """Genesis file from which states of nodes are proven; without it services are believed."""
    page: ServiceUrl | None = None
    """Explorer that links lead to; the first service by default."""
    every_s: int = Field(default=60, ge=1, le=3_600)
    """Seconds from one round of questions to the next."""
    patience_s: int = Field(default=300, ge=0, le=86_400)
    """Seconds for which a service may be silent, or services disagree, before that is told."""
    check_in_s: int = Field(default=3_600, ge=1, le=604_800)
    """Seconds from one check-in of an agent to the next; two missed ones are told."""
    list_epochs: int = Field(default=3, ge=1, le=1_000)
    """Epochs for which no list may become final before that is told."""
    heartbeat_h: int = Field(default=24, ge=0, le=720)
    """Hours from one heartbeat to the next; 0 sends none."""
    metrics: HostPort | None = None
    """Address for Prometheus to ask, such as 127.0.0.1:9420; nobody by default.

    Port 0 takes a free one."""

    # ---- webhook ----

    webhook: HttpUrl | None = None
    """URL that each message is posted to as JSON."""
    webhook_secret_file: Path | None = None
    """File whose first line signs what is posted, by HMAC-SHA256."""

    # ---- mail ----

    mail_host: str | None = Field(default=None, pattern=r"^[0-9A-Za-z.:_-]+$")
    """Server that takes mail; without it none is sent."""
    mail_port: int | None = Field(default=None, ge=1, le=65535)
    """Its port; 587, 465 for `tls`, or 25 for `none` unless this says otherwise."""
    mail_security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is kept from others; `none` is for a server on this machine."""
    mail_user: str | None = Field(default=None, min_length=1, max_length=320)
    """Name to log in by; without it nobody logs in."""
    mail_password_file: Path | None = None
    """File whose first line is the password of `mail_user`."""
    mail_from: MailAddress | None = None
    """Sender."""
    mail_to: tuple[MailAddress, ...] = ()
    """Recipients."""

    @model_validator(mode="after")
    def _fit_together(self) -> "WarnSettings":
        wants = {
            "name --node or --operator": bool(self.node or self.operator),
            "name a service": bool(self.service),
            "mail needs mail_from and mail_to": self.mail_host is None
            or bool(self.mail_from and self.mail_to),
            "mail_user and mail_password_file go together": (self.mail_user is None)
            == (self.mail_password_file is None),
            "a password is sent over TLS only: mail_security": self.mail_user is None
            or self.mail_security != "none",
            "webhook_secret_file needs a webhook": self.webhook_secret_file is None
            or self.webhook is not None,
        }
        for text, holds in wants.items():
            if not holds:
                raise ValueError(text)
        return self

    @property
    def memory_path(self) -> Path:
        """File of what was told and what waits to be sent."""
        return self.home / "memory.json"

    @property
    def lists_path(self) -> Path:
        """Folder of the headers that were verified."""
        return self.home / "lists"

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the gauges."""
        if self.metrics is None:
            return None
        host, _, port = self.metrics.rpartition(":")
        return host.strip("[]"), int(port)


def default_warn_home() -> Path:
    """Return the home unless one is named: `warn` beside that of a service."""
    return default_home() / "warn"


def load_warn_settings(home: Path, flags: dict[str, Any]) -> WarnSettings:
    """Return the settings of a home; `flags` that are None were not given.

    Raises `BadSettings`.
    """
    return load(WarnSettings, home, CONFIG, flags, other_variables=("HOME",))


def read_secret(path: Path) -> str:
    """Return the first line of a file that only its owner can read. Raises `BadSettings`."""
    try:
        if path.stat().st_mode & 0o077:
            raise BadSettings(f"{path} can be read by others: chmod 600 it")
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
        line = raw.split(b"\n", 1)[0].removesuffix(b"\r").decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: {error}") from None
    if len(raw) > MAX_SECRET_BYTES or not line:
        raise BadSettings(f"{path} holds no secret: a line of up to {MAX_SECRET_BYTES} bytes")
    return line
