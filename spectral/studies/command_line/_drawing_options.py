"""The options of the commands that draw."""

import argparse

from ._data_dir_option import add_data_dir
from ._paths import path


def add_plot_options(plot: argparse.ArgumentParser) -> None:
    """Add the options of `plot`."""
    plot.add_argument("folders", type=path, nargs="+", metavar="FOLDER", help="the folder of a run")
    plot.add_argument(
        "--out",
        type=path,
        metavar="FOLDER",
        help="where the figures are written; default: the folder figures in that of the run, or, "
        "of several runs, in this one",
    )
    plot.add_argument(
        "--only",
        action="append",
        metavar="FIGURE",
        help="draw only this figure; can be repeated",
    )
    plot.add_argument(
        "--smooth",
        type=int,
        metavar="TASKS",
        help="smooth the accuracies with a Savitzky-Golay filter over this many tasks; the figure "
        "says so",
    )


def add_predictor_options(predictors: argparse.ArgumentParser) -> None:
    """Add the options of `predictors`."""
    predictors.add_argument("folders", type=path, nargs="+", metavar="FOLDER")
    predictors.add_argument(
        "--outcome",
        metavar="COLUMN",
        help="the column that the signs predict; default: the primary number of `Trainability`",
    )
    predictors.add_argument(
        "--tuning-seeds",
        type=int,
        metavar="N",
        help="take directions and thresholds from the first N seeds; default: a third of them",
    )
    predictors.add_argument(
        "--epsilon",
        type=float,
        metavar="X",
        help="leave out the columns of probes with another epsilon",
    )
    predictors.add_argument(
        "--variant",
        choices=("raw", "balanced"),
        default="raw",
        help="compare what was measured at raw or at balanced weights; default: raw",
    )
    predictors.add_argument(
        "--out",
        type=path,
        metavar="FOLDER",
        help="where tables and figure are written; default: the folder predictors in that of the "
        "run, or, of several runs, in this one",
    )
    predictors.add_argument(
        "--json", action="store_true", help="print the result as JSON in place of the table"
    )


def add_landscape_options(landscape: argparse.ArgumentParser) -> None:
    """Add the options of `landscape`."""
    landscape.add_argument("folder", type=path, metavar="FOLDER")
    landscape.add_argument(
        "--algorithm",
        action="append",
        metavar="NAME",
        help="draw only this algorithm; can be repeated",
    )
    landscape.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    landscape.add_argument(
        "--num-examples",
        type=int,
        default=500,
        metavar="N",
        help="how many training examples the loss is computed on; default: 500",
    )
    landscape.add_argument(
        "--reach",
        type=float,
        default=1.0,
        metavar="X",
        help="the plane extends from -X to X in both directions; default: 1",
    )
    add_data_dir(landscape)
