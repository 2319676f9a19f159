"""An energy figure, which is nothing without where it comes from and what it covers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Energy:
    """Millijoules per input. All three are null where nothing is known: unknown is never 0.

    Attributes:
        provenance: `measured`, `predicted` or `estimated`.
        scope: `board_gross`, `board_net` or `core_net`; figures of different scopes are never compared or added.
    """

    value: float | None
    provenance: str | None
    scope: str | None


UNKNOWN = Energy(None, None, None)
