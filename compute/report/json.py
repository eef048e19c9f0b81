"""nfold's own JSON, schema "nfold/1"."""

from compute.scaling.results import Scaling


def render(scaling: Scaling) -> str:
    """The dataset itself; `Scaling.from_json` reads it back."""
    return scaling.as_json()
