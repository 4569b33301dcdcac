"""The command line of a script that times cases."""

import argparse
import pathlib
from collections.abc import Callable, Mapping

from timing.case import Case
from timing.record import save
from timing.report import table
from timing.runner import measure


def add_options(parser: argparse.ArgumentParser, *, rounds: int = 7) -> None:
    """Add the options of every script that times cases."""
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--small", action="store_true", help="tiny sizes, as a test of the script")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases whose names have a TEXT")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the numbers")


Cases = Mapping[str, Callable[[], Case]]


def time_cases(cases: Cases, given: argparse.Namespace) -> None:
    """Make and time each case, print its lines when it is done, and write all to a file if one is
    named.

    A case is made when it is its turn, so that it does not hold its memory for long.
    """
    measured = []
    for work, make in cases.items():
        if given.only and not any(text in work for text in given.only):
            continue
        found = measure(work, make(), 1 if given.small else given.rounds)
        print(table([found]), end="\n\n", flush=True)
        measured.append(found)
    if given.json is not None:
        save(given.json, measured, quick=given.quick, rounds=given.rounds)
