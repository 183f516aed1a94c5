"""What holds for every test: no connection leaves this machine, and in CI no test is skipped.

Both are held here and not left to the tests, since the test that forgets is the one that matters.
Two things pass the guard of connections: programs that a test starts, and uvloop, which goes past
Python's sockets. Such tests have to name loopback addresses themselves.
"""

import os
import socket
from collections.abc import Callable, Generator
from functools import wraps
from ipaddress import ip_address
from itertools import chain
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

NO_SKIP = os.environ.get("WAYPOST_NO_SKIP") == "1"

# A deadline turns a busy machine into a failing test. In CI the same commit tries the same cases.
hypothesis.settings.register_profile("waypost", deadline=None)
hypothesis.settings.register_profile("waypost-ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("waypost-ci" if NO_SKIP or "CI" in os.environ else "waypost")


# ---- Loopback only ----


class LeavesLoopback(RuntimeError):
    """A test tried to reach another machine. No OSError, so that no retry swallows it."""


def is_loopback(host: str) -> bool:
    """Whether a name or a literal address means this machine."""
    if host == "localhost":
        return True
    address = parse_address(host)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def parse_address(host: str) -> Any | None:
    """A literal address, or nothing if resolving the name would ask another machine."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def refuse(what: str, target: object) -> None:
    """Say what was tried and what to do instead."""
    raise LeavesLoopback(
        f"{what} of {target!r}: tests stay on 127.0.0.1, ::1 and Unix sockets; start the far side "
        "in the test, or fake it in memory"
    )


def guard_method(name: str) -> None:
    """Let a method of sockets, whose address is its last positional argument, stay on loopback."""
    original = getattr(socket.socket, name)

    @wraps(original)
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1] if arguments else None
        is_internet = self.family in (socket.AF_INET, socket.AF_INET6)
        # A connected socket sends without an address.
        if is_internet and isinstance(address, tuple) and not is_loopback(text_of(address[0])):
            refuse(name, address)
        return original(self, *arguments)

    setattr(socket.socket, name, guarded)


def guard_lookup(name: str, is_allowed: Callable[[str], bool]) -> None:
    """Let a function of the socket module, whose first argument is a host, ask no name server."""
    original = getattr(socket, name)

    @wraps(original)
    def guarded(host: str | bytes | None, *arguments: Any, **keywords: Any) -> Any:
        # No host at all means every address of this machine.
        if host and not is_allowed(text_of(host)):
            refuse(name, host)
        return original(host, *arguments, **keywords)

    setattr(socket, name, guarded)


def is_answered_here(host: str) -> bool:
    """Whether looking a host up asks no name server: literal addresses are only parsed."""
    return is_loopback(host) or parse_address(host) is not None


def text_of(host: str | bytes) -> str:
    """A host as text, which sockets take as bytes too."""
    return host.decode("ascii", "replace") if isinstance(host, bytes) else host


for _name in ("connect", "connect_ex", "sendto", "sendmsg"):
    guard_method(_name)
for _name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    guard_lookup(_name, is_answered_here)
# A look-up in reverse asks a name server for a literal address too.
guard_lookup("gethostbyaddr", is_loopback)


# ---- One network for each file of tests/e2e and of the long tests ----


STORIES = ("tests/e2e/", "tests/stories/", "tests/browser/", "tests/fuzz/")


class ByStory(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Each test goes to whichever process is free; the tests of one story go to the same one.

    A story is a file of one of `STORIES`, whose tests share one running network. (The marker
    `xdist_group` would say that too, but pytest 9.2 does not let pytest-xdist 3.8 see it.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(STORIES) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStory:
    """Hand tests out by story."""
    return ByStory(config, log)


# ---- No skips in CI ----


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped under WAYPOST_NO_SKIP=1 fails with its reason."""
    report = yield
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        fail_instead(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does a module that skips itself while it is collected."""
    report = yield
    if NO_SKIP and report.skipped:
        fail_instead(report)
    return report


def fail_instead(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn the skip that a report tells of into a failure."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"WAYPOST_NO_SKIP=1 lets no test be skipped. {reason}"


# ---- Something has to run ----

_ran: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which tests ran; one that is skipped has no call, or one that says so."""
    if report.when == "call" and (not report.skipped or hasattr(report, "wasxfail")):
        _ran.add(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in which every test was skipped has tested nothing, and must not look like success."""
    is_worker = hasattr(session.config, "workerinput")
    if exitstatus == pytest.ExitCode.OK and not (
        _ran or is_worker or session.config.option.collectonly
    ):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


# ---- What a test has to tell ----


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the property `table` of each test that recorded one, since output is captured."""
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and report.when == "call":
            for name, value in report.user_properties:
                if name == "table":
                    terminalreporter.section(report.nodeid)
                    terminalreporter.line(str(value))
