"""What the columns of `Trainability` are."""

from ..._base._quantity import Quantity


def outcome_quantities(outcome: str) -> dict[str, Quantity]:
    """What is recorded for one outcome, the primary number first."""
    how = {"own": "as the run trains", "sgd": "under plain SGD"}[outcome]
    figure = "trainability"
    return {
        f"{outcome}_excess": Quantity(
            f"area above that of fresh networks, {how}", better="lower", figure=figure
        ),
        f"{outcome}_ratio": Quantity(
            f"trainability relative to fresh networks, {how}",
            limits=(0.0, None),
            better="higher",
            figure=figure,
        ),
        f"{outcome}_area": Quantity(
            f"area under the loss curve, {how}", better="lower", figure=figure
        ),
        f"{outcome}_fresh_area": Quantity(
            f"area under the loss curve of fresh networks, {how}", figure=figure
        ),
    }
