"""Every decoder that is fuzzed: a new one is a row of `decoders` or `streams`."""

from typing import Final

from tests.mutations.decoders import DECODERS
from tests.mutations.rows import Decoder
from tests.mutations.streams import STREAMS

TARGETS: Final[dict[str, Decoder]] = {**DECODERS, **STREAMS}
