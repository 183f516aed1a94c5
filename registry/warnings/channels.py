"""The ways on which messages leave: a webhook, mail, standard output.

- Each has a bound in time for a message, whatever the far side does, and reads little of what it
  says: a status is enough.
- A channel says `NotSent` with the reason, and is asked again later. It may then have arrived all
  the same; its id tells.
- Redirects are not followed: what is signed for one receiver goes to no other.
"""

import asyncio
import hashlib
import hmac
import json
import smtplib
import threading
import time
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, Protocol

from ledger.errors import WaypostError, describe
from registry.client.transport import load_certificates
from registry.warnings.messages import Message, clean, to_json, to_text
from registry.warnings.settings import WarnSettings, read_secret

if TYPE_CHECKING:
    import httpx2

SEND_S: Final = 20.0
"""Seconds that a channel has for one message."""

SIGNATURE: Final = "x-waypost-signature"
TIMESTAMP: Final = "x-waypost-timestamp"

MAIL_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

MAX_SAID: Final = 200
"""Characters shown of what the far side says."""


class NotSent(WaypostError):
    """A message was not taken; the text says why."""


class Channel(Protocol):
    """One way out."""

    name: str
    """Stable: what waits for it is kept under this name."""

    async def send(self, message: Message, dropped: int) -> None:
        """Send a message; `dropped` ones before it gave way. Raises `NotSent`."""

    async def close(self) -> None:
        """Let go of connections."""


def make_channels(settings: WarnSettings) -> list[Channel]:
    """Return the channels that are set up, which may be none. Raises `BadSettings`."""
    channels: list[Channel] = []
    if settings.webhook is not None:
        secret = settings.webhook_secret_file
        key = b"" if secret is None else read_secret(secret).encode()
        channels.append(Webhook(settings.webhook, key))
    if settings.mail_host is not None:
        password = settings.mail_password_file
        channels.append(Mail(settings, "" if password is None else read_secret(password)))
    return channels


# --------------------------------------------------------------------------------------- webhook


class Webhook:
    """Posts each message as JSON."""

    name = "webhook"

    def __init__(self, url: str, secret: bytes, send_s: float = SEND_S) -> None:
        """Post to `url`, signed if there is a secret."""
        self._url = url
        self._secret = secret
        self._send_s = send_s
        self._client: httpx2.AsyncClient | None = None

    async def send(self, message: Message, dropped: int) -> None:
        """Post a message; any status of success takes it. Raises `NotSent`."""
        import httpx2

        body = json.dumps(to_json(message) | {"dropped_before": dropped}).encode()
        headers = {"content-type": "application/json", "idempotency-key": message.id}
        headers |= sign_body(self._secret, int(time.time()), body) if self._secret else {}
        try:
            async with (
                asyncio.timeout(self._send_s),
                self._open().stream("POST", self._url, content=body, headers=headers) as response,
            ):
                # the body is of no use, and may have no end
                status = response.status_code
        except TimeoutError:
            raise NotSent(f"the webhook did not answer within {self._send_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise NotSent(f"the webhook was not reached: {_shorten(describe(error))}") from None
        if not 200 <= status < 300:
            raise NotSent(f"the webhook answered {status}")

    async def close(self) -> None:
        """End its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> "httpx2.AsyncClient":
        import httpx2

        if self._client is None:
            is_secret = self._url.startswith("https:")
            self._client = httpx2.AsyncClient(
                verify=load_certificates() if is_secret else False,
                timeout=self._send_s,
                trust_env=False,
                follow_redirects=False,
                headers={"user-agent": "waypost"},
            )
        return self._client


def sign_body(secret: bytes, time_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign what is posted: HMAC-SHA256 over `time_s`, a dot and the body.

    The time, Unix seconds, lets a receiver refuse what is old.
    """
    digest = hmac.new(secret, b"%d." % time_s + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: str(time_s), SIGNATURE: f"sha256={digest}"}


# ------------------------------------------------------------------------------------------ mail


class Mail:
    """Sends each message by SMTP."""

    name = "mail"

    def __init__(self, settings: WarnSettings, password: str, send_s: float = SEND_S) -> None:
        """Use the server and the addresses of the settings."""
        self._settings = settings
        self._password = password
        self._send_s = send_s

    async def send(self, message: Message, dropped: int) -> None:
        """Hand a message to the server for all recipients. Raises `NotSent`."""
        mail = write_mail(message, self._settings, dropped)
        delivery = _Delivery(self._settings, self._password, mail, self._send_s)
        # A thread of its own: a server that answers byte by byte has no end that the library knows.
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Exception | None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if not done.done():
                done.set_result(error)

        def run() -> None:
            error = delivery.run()
            try:
                loop.call_soon_threadsafe(finish, error)
            except RuntimeError:
                return  # the loop has ended: nobody waits any more

        threading.Thread(target=run, name="mail", daemon=True).start()
        try:
            async with asyncio.timeout(self._send_s):
                error = await done
        except TimeoutError:
            raise NotSent(f"the mail server did not take it within {self._send_s:g} s") from None
        finally:
            delivery.drop()
        if error is not None:
            raise NotSent(f"the mail was not taken: {_shorten(str(error))}") from error

    async def close(self) -> None:
        """There is nothing to let go of."""


class _Delivery:
    """One mail on its way, which another thread may break off."""

    def __init__(
        self, settings: WarnSettings, password: str, mail: EmailMessage, wait_s: float
    ) -> None:
        self._settings = settings
        self._password = password
        self._mail = mail
        self._wait_s = wait_s
        self._server: smtplib.SMTP | None = None

    def run(self) -> Exception | None:
        """Send it; return what went wrong."""
        settings = self._settings
        try:
            self._server = server = self._connect()
            server.connect(settings.mail_host or "", self._port)
            if settings.mail_security == "starttls":
                server.starttls(context=load_certificates())
            if settings.mail_user is not None:
                server.login(settings.mail_user, self._password)
            refused = server.send_message(self._mail)
            if refused:
                return NotSent(f"it was refused for {', '.join(sorted(refused))}")
            server.quit()
        except Exception as error:
            return error  # whatever it is, somebody waits to hear of it
        return None

    @property
    def _port(self) -> int:
        return self._settings.mail_port or MAIL_PORTS[self._settings.mail_security]

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        # its own name by the sender's domain, since asking for this machine's takes a name server
        named = (settings.mail_from or "").rpartition("@")[2]
        if settings.mail_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                local_hostname=named, timeout=self._wait_s, context=load_certificates()
            )
        else:
            server = smtplib.SMTP(local_hostname=named, timeout=self._wait_s)
        # the name that certificates are checked against, which only the constructor would set
        server._host = settings.mail_host or ""  # type: ignore[attr-defined]
        return server

    def drop(self) -> None:
        """Break it off, if it still goes on."""
        if self._server is not None:
            self._server.close()


def write_mail(message: Message, settings: WarnSettings, dropped: int) -> EmailMessage:
    """Return a message as a mail, whose heads hold one clean line each."""
    mail = EmailMessage()
    sender = settings.mail_from or ""
    mail["From"] = Address(display_name="Waypost", addr_spec=sender)
    mail["To"] = [Address(addr_spec=address) for address in settings.mail_to]
    mail["Subject"] = message.headline
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.time_ms // 1000, UTC))
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Waypost-Warning"] = clean(message.warning)
    mail["X-Waypost-Severity"] = clean(message.severity)
    text = to_text(message)
    if dropped:
        text += f"\n\n{dropped} older messages were dropped, since none could be sent for long."
    mail.set_content(text + "\n", cte="quoted-printable")
    return mail


# ------------------------------------------------------------------------------- standard output


class Standard:
    """Prints each message; as a line of JSON, or as text with an empty line behind it."""

    name = "stdout"

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    async def send(self, message: Message, dropped: int) -> None:
        """Print a message. Raises `NotSent` if nobody reads."""
        as_json = json.dumps(to_json(message) | {"dropped_before": dropped})
        text = as_json if self._as_json else to_text(message) + "\n"
        try:
            print(text, flush=True)
        except OSError as error:
            raise NotSent(f"standard output is gone: {error}") from None

    async def close(self) -> None:
        """There is nothing to let go of."""


class Collected:
    """Holds messages for whoever prints them together with something else."""

    name = Standard.name

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message, dropped: int) -> None:
        """Take a message."""
        self.messages.append(message)

    async def close(self) -> None:
        """There is nothing to let go of."""


def _shorten(text: str) -> str:
    return clean(text)[:MAX_SAID]
