"""What predicts an outcome without any diagnostic."""

import dataclasses

import numpy as np

from ..._base._quantity import Quantity
from ._panel import Panel, Sign
from .statistics._values import Values


_FIRST_LOSS = "loss of the first chunk"


def with_trivial(panel: Panel, first_loss: Values) -> Panel:
    """The panel with the trivial predictors: the task index, the previous outcome, and the loss at
    the start of the task.

    That loss is the first sign at the start of tasks that belongs to the figure `loss`, as that of
    `StartLoss` does; without one, it is `first_loss`, the mean loss over the first chunk.
    """
    signs = dict(panel.signs)
    is_loss = lambda sign: sign.quantity.figure == "loss" and sign.when == "start"
    start = next((name for name, sign in signs.items() if is_loss(sign)), _FIRST_LOSS)
    loss = signs.get(start) or Sign(first_loss, Quantity(start, cost=0), "whole")
    task = np.where(np.isnan(panel.outcome), np.nan, panel.tasks)
    previous = Quantity("previous outcome", better="higher", cost=0)
    signs |= {
        start: dataclasses.replace(loss, trivial=True),
        "task index": Sign(task, Quantity("task index", cost=0), "start", trivial=True),
        "previous outcome": Sign(panel.previous, previous, "start", trivial=True, claimed=True),
    }
    return dataclasses.replace(panel, signs=signs)
