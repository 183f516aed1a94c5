"""The steps of an epoch's end have a runner each, in their order."""

from ledger.epochs import EPOCH_STEPS
from tests.ledger.epochs.ends import RUNNERS


def test_every_step_has_its_runner_in_order() -> None:
    assert list(RUNNERS) == [step.__name__ for step in EPOCH_STEPS]
