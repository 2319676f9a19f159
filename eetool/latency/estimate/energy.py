"""Energy figure with its provenance and scope."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Energy:
    """Millijoules per input. All three fields are null where the energy is unknown; unknown is never 0.

    Attributes:
        provenance: `measured`, `predicted` or `estimated`.
        scope: `board_gross`, `board_net` or `core_net`; figures of different scopes are never compared or added.
    """

    value: float | None
    provenance: str | None
    scope: str | None


UNKNOWN = Energy(None, None, None)
