"""`scripts/install_cometbft`: what it builds, when there is nothing to do, and without Go."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from registry.cometbft import VERSION
from tests.registry.cometbft.site import make_program

ROOT: Final = Path(__file__).parents[2]

GO: Final = """#!/bin/sh
if [ "$1" = version ]; then exit 0; fi
echo "$GOBIN" "$@" >>"$(dirname "$0")/asked"
printf '#!/bin/sh\\necho {says}\\n' >"$GOBIN/cometbft"
chmod +x "$GOBIN/cometbft"
"""


class Checkout:
    """A checkout with the script and the version, and a path with nothing but the system on it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.path = folder / "path"
        for name in ("scripts/install_cometbft", "registry/cometbft/version.py"):
            (self.root / name).parent.mkdir(parents=True)
            shutil.copy(ROOT / name, self.root / name)
        (self.root / ".bin").mkdir()
        self.path.mkdir()

    def add_go(self, says: str) -> None:
        """Put a Go on the path that builds a program of a version."""
        go = self.path / "go"
        go.write_text(GO.replace("{says}", says))
        go.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.root / "scripts" / "install_cometbft"],
            env={"PATH": f"{self.path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )

    @property
    def asked(self) -> str:
        """What Go was asked to build, and where."""
        file = self.path / "asked"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_it_builds_the_pinned_version_into_the_checkout(checkout: Checkout) -> None:
    checkout.add_go(VERSION)
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    folder = checkout.root / ".bin"
    wanted = f"github.com/cometbft/cometbft/cmd/cometbft@v{VERSION}"
    assert checkout.asked == f"{folder} install {wanted}\n"
    # and a second time there is nothing to do
    again = checkout.run()
    assert (again.returncode, again.stderr) == (0, "")
    assert checkout.asked.count("\n") == 1


@pytest.mark.parametrize("where", ["checkout/.bin", "path"])
def test_where_it_is_already_nothing_is_done(checkout: Checkout, where: str) -> None:
    checkout.add_go(VERSION)
    make_program(checkout.root.parent / where / "cometbft")
    done = checkout.run()
    assert (done.returncode, done.stderr, checkout.asked) == (0, "", "")


def test_another_version_is_replaced(checkout: Checkout) -> None:
    checkout.add_go(VERSION)
    program = make_program(checkout.root / ".bin" / "cometbft", "0.37.4")
    assert checkout.run().returncode == 0
    assert VERSION in program.read_text()


def test_a_build_that_is_something_else_is_refused(checkout: Checkout) -> None:
    checkout.add_go("0.37.4")
    done = checkout.run()
    assert done.returncode == 3
    assert f"is not CometBFT {VERSION}" in done.stderr


def test_without_go_it_says_what_to_install(checkout: Checkout) -> None:
    # a Go of the system's own would do
    (checkout.path / "go").write_text("#!/bin/sh\nexit 127\n")
    (checkout.path / "go").chmod(0o755)
    done = checkout.run()
    assert done.returncode == 3
    assert f"CometBFT {VERSION} is built with Go, and there is no Go" in done.stderr
    assert not (checkout.root / ".bin" / "cometbft").exists()
