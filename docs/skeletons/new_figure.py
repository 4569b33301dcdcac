"""A new figure: one file in `studies/figures/`, one entry in the drawings of `draw_figures`.

A figure is a function from the results of a run to a Matplotlib figure, or to `None` if the run did
not record what it shows. `save_figures` sets the style and writes PNG and PDF.
"""

import numpy as np
from matplotlib.figure import Figure

from spectral import History
from spectral.studies import Member, Results


def draw_loss(results: Results) -> Figure | None:
    """The training loss of every member over tasks."""
    if not any("loss" in member.history for member in results.members):
        return None
    figure = Figure(figsize=(3.5, 2.9), layout="constrained")
    axes = figure.subplots()
    for member in results.members:
        axes.plot(member.history["loss"].mean(axis=1), label=member.algorithm)
    axes.set(xlabel="Task", ylabel="Loss")
    axes.legend()
    return figure


if __name__ == "__main__":
    import pathlib

    history = History({"loss": np.linspace(1, 0, 10).reshape(5, 2)})
    member = Member("bp", 0, "finished", "", history)
    figure = draw_loss(Results(pathlib.Path("runs/none"), {}, (member,)))
    print(figure is not None)
