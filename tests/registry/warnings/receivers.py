"""What messages are sent to, on this machine: a webhook and a mail server, friendly or not.

Hook           a webhook that notes what comes; `answer` says how it behaves
run_hook       one that listens
Box            a mail server that notes what comes
run_box        one that listens
make_message   a message to be sent
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, TypeAlias

import msgspec
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from registry.warnings.messages import Message

Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def make_message(number: int = 0, **changes: Any) -> Message:
    """A message."""
    message = Message(
        id=f"{number:032x}",
        kind="new",
        warning="failing",
        severity="warning",
        chain="test-net",
        subject="wpn1zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygsgdg64f",
        time_ms=1_795_132_800_000 + number,
        reason="it failed in epoch 48 (storage port)",
        left_ms=5_400_000,
        next_step="see that the storage server runs",
        link="http://127.0.0.1:8420/nodes/x",
        proof="unchecked",
    )
    return msgspec.structs.replace(message, **changes)


class Hook:
    """A webhook."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.open = 0
        """Connections that are open."""
        self.answer: Behaviour = answer_with(204)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """Of the messages that came."""
        return [json.loads(body)["id"] for body in self.bodies]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take requests of one connection."""
        self.open += 1
        try:
            while head := await _read_head(reader):
                self.bodies.append(await reader.readexactly(int(head.get("content-length", "0"))))
                self.heads.append(head)
                await self.answer(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            self.open -= 1
            writer.close()


async def _read_head(reader: asyncio.StreamReader) -> dict[str, str]:
    first = await reader.readline()
    head: dict[str, str] = {"": first.decode().strip()} if first else {}
    while first and (line := (await reader.readline()).decode().strip()):
        name, _, value = line.partition(": ")
        head[name.lower()] = value
    return head


def answer_with(status: int, *heads: str) -> Behaviour:
    """Answer with a status and no body."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (f"HTTP/1.1 {status} So", "Content-Length: 0", *heads, "", "")
        writer.write("\r\n".join(lines).encode())
        await writer.drain()

    return answer


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Answer nothing for as long as the other side is there."""
    await reader.read(1)


async def answer_without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the message, and send a body that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def drip_heads(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer whose head never ends, byte by byte."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def run_hook(answer: Behaviour | None = None) -> AsyncIterator[Hook]:
    """Run a webhook."""
    hook = Hook()
    if answer is not None:
        hook.answer = answer
    server = await asyncio.start_server(hook.accept, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    try:
        yield hook
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None


class Box:
    """A mail server's handler."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.was_secret: list[bool] = []
        self.refuses = ""
        """What it answers instead of taking a mail."""

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a mail."""
        if self.refuses:
            return self.refuses
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        self.was_secret.append(session.ssl is not None)
        return "250 taken"

    def log_in(self, _: SMTP, __: Session, ___: Envelope, ____: str, data: Any) -> AuthResult:
        """Let in who knows the password."""
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"hunter2", handled=False)


@contextlib.asynccontextmanager
async def run_box(
    *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None
) -> AsyncIterator[Box]:
    """Run a mail server: over TLS from the start, with STARTTLS, or in the clear."""
    box = Box()

    def make() -> SMTP:
        return SMTP(
            box,
            hostname="localhost",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=box.log_in,
            auth_require_tls=tls is None,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
