"""Every target of fuzzing takes the bytes that it begins with, and keeps what is held of it."""

import pytest

from tests.fuzzing.judge import judge
from tests.fuzzing.target import Folders
from tests.fuzzing.targets import TARGETS, find_targets
from tests.mutations.decoders import DECODERS
from tests.mutations.streams import STREAMS


@pytest.mark.parametrize("name", TARGETS)
def test_what_it_begins_with_is_taken(name: str) -> None:
    assert judge(TARGETS[name], TARGETS[name].raw)


def test_each_has_a_name_and_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("fuzzing")
    assert not DECODERS.keys() & STREAMS.keys()
    assert len({Folders(out, name).corpus for name in TARGETS}) == len(TARGETS)


def test_a_target_is_known_by_its_name() -> None:
    assert list(find_targets(["block", "range"])) == ["block", "range"]
    assert find_targets([]) == TARGETS
    with pytest.raises(SystemExit, match=r"no target blocks; take one of\n  table a\n"):
        find_targets(["block", "blocks"])
