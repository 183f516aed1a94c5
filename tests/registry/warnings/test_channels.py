"""Webhook and mail against real servers, friendly and hostile, on this machine."""

import asyncio
import hashlib
import hmac
import json
import ssl
from pathlib import Path
from typing import Any, Final

import pytest

from registry.settings import BadSettings
from registry.warnings import channels
from registry.warnings.channels import (
    SIGNATURE,
    TIMESTAMP,
    Channel,
    Collected,
    Mail,
    NotSent,
    Standard,
    Webhook,
    make_channels,
    sign_body,
    write_mail,
)
from registry.warnings.messages import Message, clean, to_json, to_text
from tests.registry.factory import in_loop
from tests.registry.warnings.factory import make_settings
from tests.registry.warnings.receivers import (
    Behaviour,
    answer_with,
    answer_without_end,
    drip_heads,
    make_message,
    run_box,
    run_hook,
    say_nothing,
)

CERTIFICATE: Final = Path(__file__).parent / "insecure_localhost.pem"
IMPATIENT_S: Final = 0.3
"""How long a hostile server is waited for here."""

SENDER: Final = "warn@example.org"
RECIPIENTS: Final = ("one@example.org", "two@example.org")


async def why_not(channel: Channel, message: Message | None = None) -> str:
    """Have a channel not take a message; why."""
    with pytest.raises(NotSent) as caught:
        await channel.send(message or make_message(), 0)
    await channel.close()
    return str(caught.value)


# --------------------------------------------------------------------------------------- webhook


@in_loop
async def test_a_webhook_gets_the_message_as_json() -> None:
    message = make_message()
    async with run_hook() as hook:
        channel = Webhook(hook.url, b"")
        await channel.send(message, 3)
        await channel.close()
    (head,), (body,) = hook.heads, hook.bodies
    assert head[""] == "POST /hook HTTP/1.1"
    assert head["content-type"] == "application/json"
    assert head["idempotency-key"] == message.id
    assert SIGNATURE not in head
    assert json.loads(body) == to_json(message) | {"dropped_before": 3}
    assert json.loads(body)["left"] == "90 min"
    assert json.loads(body)["headline"] == "[warning] failing of wpn1zyg3zy…gdg64f"


@in_loop
async def test_with_a_secret_it_can_tell_who_sent_it() -> None:
    async with run_hook() as hook:
        channel = Webhook(hook.url, b"secret")
        await channel.send(make_message(), 0)
        await channel.close()
    (head,), (body,) = hook.heads, hook.bodies
    signed = head[TIMESTAMP].encode() + b"." + body
    digest = hmac.new(b"secret", signed, hashlib.sha256).hexdigest()
    assert head[SIGNATURE] == f"sha256={digest}"


def test_a_signature_is_what_anybody_computes() -> None:
    # openssl dgst -sha256 -hmac secret <<< '17.{}' without the line break
    expected = "sha256=" + hmac.new(b"secret", b"17.{}", "sha256").hexdigest()
    assert sign_body(b"secret", 17, b"{}") == {TIMESTAMP: "17", SIGNATURE: expected}
    assert sign_body(b"secret", 18, b"{}")[SIGNATURE] != expected
    assert sign_body(b"other", 17, b"{}")[SIGNATURE] != expected


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@in_loop
async def test_any_success_takes_it(status: int) -> None:
    async with run_hook(answer_with(status)) as hook:
        channel = Webhook(hook.url, b"")
        await channel.send(make_message(), 0)
        await channel.close()
    assert len(hook.bodies) == 1


@pytest.mark.parametrize("status", [302, 307, 400, 404, 410, 429, 500, 503])
@in_loop
async def test_nothing_else_does_and_no_redirect_is_followed(status: int) -> None:
    async with run_hook() as other, run_hook() as hook:
        hook.answer = answer_with(status, f"Location: {other.url}")
        assert await why_not(Webhook(hook.url, b"secret")) == f"the webhook answered {status}"
    assert (len(hook.bodies), other.bodies) == (1, [])


HOSTILE: dict[str, tuple[Behaviour, str]] = {
    "silent": (say_nothing, "did not answer within"),
    "dripping": (drip_heads, "did not answer within"),
}


@pytest.mark.parametrize("name", HOSTILE)
@in_loop
async def test_a_webhook_that_wastes_time_is_given_up(name: str) -> None:
    answer, why = HOSTILE[name]
    async with run_hook(answer) as hook:
        assert why in await why_not(Webhook(hook.url, b"", send_s=IMPATIENT_S))
        # and its connection is not kept
        async with asyncio.timeout(10):
            while hook.open:
                await asyncio.sleep(0.01)


@in_loop
async def test_an_answer_without_end_is_not_read() -> None:
    async with run_hook(answer_without_end) as hook:
        channel = Webhook(hook.url, b"")
        await channel.send(make_message(), 0)
        async with asyncio.timeout(10):
            while hook.open:
                await asyncio.sleep(0.01)
        await channel.close()


@in_loop
async def test_a_webhook_that_is_not_there_says_so() -> None:
    async with run_hook() as hook:
        url = hook.url
    assert "was not reached" in await why_not(Webhook(url, b""))


# ------------------------------------------------------------------------------------------ mail


def mail_settings(port: int, **changes: Any) -> Any:
    """Settings of mail to a server in the clear on this machine."""
    fields = {
        "mail_host": "127.0.0.1",
        "mail_port": port,
        "mail_security": "none",
        "mail_from": SENDER,
        "mail_to": RECIPIENTS,
    }
    return make_settings(**(fields | changes))


@in_loop
async def test_a_mail_says_everything_and_is_fit_for_machines() -> None:
    message = make_message(7)
    async with run_box() as box:
        await Mail(mail_settings(box.port), "").send(message, 0)
    (mail,) = box.mails
    assert box.recipients == [list(RECIPIENTS)]
    assert mail["Subject"] == "[warning] failing of wpn1zyg3zy…gdg64f"
    assert (str(mail["From"]), str(mail["To"])) == (
        f"Waypost <{SENDER}>",
        ", ".join(RECIPIENTS),
    )
    assert mail["Message-ID"] == f"<{message.id}@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Waypost-Warning"] == "failing"
    assert mail["Date"].datetime.timestamp() == message.time_ms // 1000
    text = mail.get_content()
    assert text.splitlines() == to_text(message).splitlines()
    for part in (message.subject, message.reason, message.next_step, "90 min", str(message.link)):
        assert part in text


@in_loop
async def test_a_mail_says_how_many_were_dropped_before_it() -> None:
    async with run_box() as box:
        await Mail(mail_settings(box.port), "").send(make_message(), 12)
    assert "12 older messages were dropped" in box.mails[0].get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
@in_loop
async def test_with_tls_it_logs_in(security: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "load_certificates", trust_test_certificate)
        async with run_box(**{security: context}) as box:
            fields = {"mail_security": security, "mail_user": "me", "mail_password_file": "/x"}
            settings = mail_settings(box.port, **fields)
            await Mail(settings, "hunter2").send(make_message(), 0)
            assert "not taken" in await why_not(Mail(settings, "wrong"))
    assert len(box.mails) == 1
    assert set(box.logins) == {(b"me", b"hunter2"), (b"me", b"wrong")}
    assert security == "tls" or box.was_secret == [True]


def trust_test_certificate() -> ssl.SSLContext:
    """Believe the certificate of the tests."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


@pytest.mark.parametrize("security", ["starttls", "tls"])
@in_loop
async def test_a_server_that_nobody_vouches_for_gets_nothing(security: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    async with run_box(**{security: context}) as box:
        settings = mail_settings(box.port, mail_security=security)
        assert "certificate" in (await why_not(Mail(settings, ""))).lower()
    assert (box.mails, box.logins) == ([], [])


@in_loop
async def test_a_server_without_starttls_gets_nothing_in_the_clear() -> None:
    async with run_box() as box:
        settings = mail_settings(box.port, mail_security="starttls")
        assert "STARTTLS" in await why_not(Mail(settings, ""))
    assert box.mails == []


@in_loop
async def test_a_mail_that_is_refused_is_not_sent() -> None:
    async with run_box() as box:
        box.refuses = "451 later\r\n"[:9]
        assert "451" in await why_not(Mail(mail_settings(box.port), ""))


@in_loop
async def test_a_mail_server_that_says_nothing_is_given_up() -> None:
    async with run_hook(say_nothing) as hook:
        settings = mail_settings(hook.port)
        why = await why_not(Mail(settings, "", send_s=IMPATIENT_S))
    assert "did not take it" in why or "not taken" in why


@in_loop
async def test_a_mail_server_that_greets_without_end_is_given_up() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"220-hello\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await why_not(Mail(mail_settings(port), "", send_s=IMPATIENT_S))
    # the thread that talked to it let go of it
    await asyncio.wait_for(gone.wait(), 20)
    server.close()


# ------------------------------------------------------------------------- what strangers may say


@in_loop
async def test_nobody_gets_a_head_into_a_mail() -> None:
    evil = "x\r\nBcc: thief@example.org\r\n\r\nbody\x00\x1b[2J"
    message = make_message(warning=evil, subject=evil, reason=evil, next_step=evil, chain=evil)
    async with run_box() as box:
        await Mail(mail_settings(box.port), "").send(message, 0)
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert box.recipients == [list(RECIPIENTS)]
    assert "\\r\\nBcc: thief@example.org" in str(mail["Subject"])
    text = mail.get_content()
    assert "\x1b" not in text
    assert "\x00" not in text
    assert not [line for line in text.splitlines() if line.startswith(("Bcc", "body"))]


def test_a_clean_text_is_one_line() -> None:
    assert clean("a\r\nb\x00\u2028\u202ec") == "a\\r\\nb\\x00\\u2028\\u202ec"
    assert clean("…–ß") == "…–ß"


def test_a_mail_is_plain_text_for_the_wire() -> None:
    raw = write_mail(make_message(), mail_settings(25), 0).as_bytes()
    head, _, _ = raw.partition(b"\n\n")
    names = [line.split(b":")[0] for line in head.split(b"\n") if not line.startswith(b" ")]
    assert names == [
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted",
        b"X-Waypost-Warning", b"X-Waypost-Severity", b"Content-Type",
        b"Content-Transfer-Encoding", b"MIME-Version",
    ]  # fmt: skip
    assert all(byte < 128 for byte in raw)


# ------------------------------------------------------------------------------- standard output


@in_loop
async def test_standard_output_gets_lines_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    message = make_message()
    await Standard(as_json=True).send(message, 1)
    assert json.loads(capsys.readouterr().out) == to_json(message) | {"dropped_before": 1}
    await Standard(as_json=False).send(message, 0)
    assert capsys.readouterr().out == to_text(message) + "\n\n"


@in_loop
async def test_what_is_collected_is_in_order() -> None:
    collected = Collected()
    for number in range(3):
        await collected.send(make_message(number), 0)
    assert [int(m.id, 16) for m in collected.messages] == [0, 1, 2]


# ------------------------------------------------------------------------------- what is set up


def test_channels_are_those_that_are_set_up(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\nsecond line\n")
    secret.chmod(0o600)
    assert make_channels(make_settings()) == []
    hook = {"webhook": "http://127.0.0.1:1/", "webhook_secret_file": secret}
    mail = {"mail_user": "me", "mail_password_file": secret, "mail_security": "tls"}
    both = make_channels(mail_settings(25, **hook, **mail))
    assert [channel.name for channel in both] == ["webhook", "mail"]
    assert (vars(both[0])["_secret"], vars(both[1])["_password"]) == (b"hush", "hush")


BAD_SECRETS: dict[str, tuple[bytes, int, str]] = {
    "one that others can read": (b"hush", 0o644, "can be read by others"),
    "an empty one": (b"\n", 0o600, "holds no secret"),
    "one that is no text": (b"\xff\xfe", 0o600, "utf-8"),
    "a huge one": (b"x" * 5_000, 0o600, "holds no secret"),
}


@pytest.mark.parametrize("name", BAD_SECRETS)
def test_a_secret_is_refused(name: str, tmp_path: Path) -> None:
    raw, mode, why = BAD_SECRETS[name]
    secret = tmp_path / "secret"
    secret.write_bytes(raw)
    secret.chmod(mode)
    fields = {"webhook": "http://127.0.0.1:1/", "webhook_secret_file": secret}
    with pytest.raises(BadSettings) as caught:
        make_channels(make_settings(**fields))
    assert why in str(caught.value)
