"""What is known of the system, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.threshold import kept
from feedsvc.threshold.preview import Basis, basis

if TYPE_CHECKING:
    from feedsvc.store import Stores
    from feedsvc.threshold.inputs import Inputs
    from feedsvc.threshold.kept import Calibrated


@dataclass(frozen=True)
class AtLeast:
    """How many accounts have so many followers, or more."""

    followers: int
    accounts: int


@dataclass(frozen=True)
class Look:
    """The last look, the unit costs, and the distribution of followers."""

    inputs: Basis
    costs: Calibrated
    distribution: list[AtLeast]


def look(stores: Stores) -> Look:
    """What was kept. Raises `NoInputs`."""
    inputs = kept.inputs(stores)
    return Look(basis(inputs), kept.calibrated(stores), distribution(inputs))


def distribution(inputs: Inputs) -> list[AtLeast]:
    """Accounts by followers, each point including all that have more."""
    cells = [*inputs.cells, *(named.cell() for named in inputs.singles())]
    points = [each.promote_at for each in inputs.lists]
    return [AtLeast(point, sum(cell.accounts for cell in cells if cell.low >= point)) for point in points]
