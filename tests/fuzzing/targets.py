"""Every decoder that is fuzzed: a new one is a row of `decoders` or `streams`."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.mutations.decoders import DECODERS
from tests.mutations.rows import Decoder
from tests.mutations.streams import STREAMS

TARGETS: Final[dict[str, Decoder]] = {**DECODERS, **STREAMS}


def find_targets(names: Sequence[str]) -> Mapping[str, Decoder]:
    """Return the targets of these names, all of them if there is none. Ends the program."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        known = "\n  ".join(TARGETS)
        raise SystemExit(f"there is no target {', '.join(unknown)}; take one of\n  {known}")
    return {name: TARGETS[name] for name in names or TARGETS}
