"""The options of `score`."""

import argparse

from ._paths import path


def add_score_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `score`."""
    command.add_argument(
        "algorithm",
        nargs="?",
        metavar="NAME",
        help="a recipe such as l2_er, my_module:my_algorithm, or a YAML file with the settings of "
        "an algorithm",
    )
    command.add_argument("--form", default="quick", choices=["quick"], help="default: quick")
    command.add_argument(
        "--track",
        default="announced",
        choices=["announced", "hidden"],
        help="whether algorithms are told where a task ends; default: announced",
    )
    command.add_argument(
        "--out", type=path, metavar="FOLDER", help="default: runs/suite/<form>/<track>/<NAME>"
    )
