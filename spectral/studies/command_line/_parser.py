"""The argument parser. It imports nothing heavy, so that help is printed at once."""

import argparse
import pathlib
from typing import Any

from spectral_plasticity import installed_version

from ._cluster_options import add_cluster_options
from ._data_dir_option import add_data_dir
from ._drawing_options import add_landscape_options, add_plot_options, add_predictor_options
from ._kinds import KINDS
from ._paths import path
from ._run_options import add_apart, add_run_options
from ._score_options import add_score_options


EXIT = (
    "Exit status: 0 success, 1 a training run diverged, 2 something has to be changed first, 70 a "
    "fault of the package, 130 interrupted, 143 ended by SIGTERM."
)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    The chosen command is stored in `name`, and that of `data` in `name_of_command`.
    """
    top = argparse.ArgumentParser(
        prog="spectral",
        description="Loss of plasticity in continual learning: run experiments that YAML files "
        "describe, select settings, and draw the results.",
    )
    top.add_argument(
        "--version",
        action="version",
        version=f"spectral-plasticity {installed_version()}",
        help="print the version and exit",
    )
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    _add_running(commands)
    _add_drawing(commands)
    _add_data_commands(commands.add_parser("data", help="list or prepare data sets of images"))
    _add_looking_up(commands)
    return top


def _add_running(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="train every algorithm of a YAML file from every seed",
        description="Train every algorithm of a YAML file from every seed, write histories and "
        "checkpoints to a folder, and print a summary.",
        epilog=EXIT,
    )
    sweep = commands.add_parser(
        "sweep",
        help="train a grid of settings and select the best",
        description="Train every cell of the grid in a YAML file from every seed, print a table of "
        "scores, and write the experiment of the best cells to FOLDER/selected.yaml.",
        epilog=EXIT,
    )
    score = commands.add_parser(
        "score",
        help="score an algorithm on the suite, beside the baselines",
        description="Tune an algorithm on the suite with the budget that everyone has, score it, "
        "write FOLDER/summary.json, and print where it stands among the baselines. Without NAME, "
        "print the baselines. The same command continues a score that was stopped.",
        epilog=EXIT,
    )
    add_score_options(score)
    add_run_options(run, default="runs/<name of the file>")
    add_apart(run)
    add_run_options(sweep, default="runs/<name of the file>_sweep")
    for command in (run, sweep):
        add_cluster_options(command)


def _add_drawing(commands: Any) -> None:
    plot = commands.add_parser(
        "plot",
        help="draw the figures of a run, or several runs side by side",
        description="Draw the figures of a run, or of several runs with a panel for each, as PNG "
        "and PDF.",
    )
    add_plot_options(plot)
    landscape = commands.add_parser(
        "landscape",
        help="draw the loss landscapes of the networks of a run",
        description="Draw the loss around the networks of a run, from its last checkpoints, in the "
        "plane of the two eigenvectors of the Hessian with the largest eigenvalues, at the start "
        "of the next task. Writes FOLDER/figures/landscape.png and .pdf.",
    )
    add_landscape_options(landscape)
    predictors = commands.add_parser(
        "predictors",
        help="compare the recorded signs of lost plasticity as predictors of an outcome",
        description="Compare all signs that runs have recorded as predictors of an outcome, by one "
        "protocol that is printed with the result. Writes predictors.csv, coverage.csv, "
        "predictors.json and a figure.",
    )
    add_predictor_options(predictors)
    claims = commands.add_parser(
        "claims",
        help="judge the claims of the paper by recorded runs",
        description="Print the verdict about each claim of docs/results/protocol.md, with the "
        "next command of each study, and write claims.md, claims.json and a page with figures for "
        "each study that has finished runs.",
    )
    claims.add_argument(
        "folder", type=path, metavar="FOLDER", help="it holds a run folder for each study"
    )
    claims.add_argument(
        "--out", type=path, metavar="FOLDER", help="where the pages are written; default: FOLDER"
    )
    report = commands.add_parser(
        "report",
        help="write a page about runs, for a browser",
        description="Write one self-contained page with interactive curves, spectra, scatter "
        "plots, settings and commands of one or several runs. It needs no network connection.",
    )
    report.add_argument("folders", type=path, nargs="+", metavar="FOLDER")
    report.add_argument(
        "--out",
        type=path,
        default=pathlib.Path("report.html"),
        metavar="FILE.html",
        help="default: report.html",
    )


def _add_data_commands(data: argparse.ArgumentParser) -> None:
    commands = data.add_subparsers(dest="name_of_command", required=True, metavar="COMMAND")
    listed = commands.add_parser(
        "list",
        help="list the prepared data sets",
        description="Print the names and versions of the prepared data sets in a folder.",
    )
    prepare = commands.add_parser(
        "prepare",
        help="download and prepare a data set (needs TensorFlow)",
        description="Download a data set of TensorFlow Datasets and prepare it for reading. This "
        "needs TensorFlow: pip install 'spectral-plasticity[data]'.",
    )
    prepare.add_argument(
        "name_of_set", metavar="NAME", help="such as cifar100 or imagenet_resized/32x32"
    )
    for command in (listed, prepare):
        add_data_dir(command)


def _add_looking_up(commands: Any) -> None:
    listed = commands.add_parser(
        "list",
        help="list the parts that an experiment can name",
        description="Print a line for each part of a kind: its name and what it is.",
    )
    listed.add_argument("kind", nargs="?", choices=KINDS, help="default: all kinds")
    show = commands.add_parser(
        "show",
        help="describe a part and its arguments",
        description="Describe a part that an experiment can name, and its arguments with their "
        "types and defaults.",
    )
    show.add_argument("part", metavar="NAME", help="such as l2_er, MLP or continual_imagenet")
    init = commands.add_parser(
        "init",
        help="list the examples, or write one to a file",
        description="Without NAME, list the examples of experiments and sweeps. With NAME, write "
        "one to a file, to run it or to change it.",
    )
    init.add_argument("example", nargs="?", metavar="NAME", help="such as digits or sweeps/digits")
    init.add_argument(
        "--out", type=path, metavar="FILE.yaml", help="default: NAME.yaml in this folder"
    )
