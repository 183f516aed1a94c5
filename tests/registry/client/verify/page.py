"""All scripts together. Making them takes seconds, so it is imported where they are made only."""

from typing import Final

from tests.registry.client.verify import (
    deltas,
    genesis,
    headers,
    kept,
    lists,
    sets,
    signatures,
    slices,
    trust,
)
from tests.registry.client.verify.writing import Page

PAGE: Final = Page(
    headers.NAMES
    | signatures.NAMES
    | lists.NAMES
    | deltas.NAMES
    | slices.NAMES
    | genesis.NAMES
    | trust.NAMES
    | sets.NAMES
    | kept.NAMES,
    headers.BEGINNINGS | deltas.BEGINNINGS | trust.BEGINNINGS | kept.BEGINNINGS,
    headers.CLASSES
    | signatures.CLASSES
    | lists.CLASSES
    | deltas.CLASSES
    | slices.CLASSES
    | genesis.CLASSES
    | trust.CLASSES
    | sets.CLASSES
    | kept.CLASSES,
)
