"""The options of the commands that train."""

import argparse

from ._data_dir_option import add_data_dir
from ._paths import path


def add_apart(command: argparse.ArgumentParser) -> None:
    """Add the options of `run` for studies that take hours."""
    command.add_argument(
        "--apart",
        action="store_true",
        help="train each algorithm from each seed on its own, all algorithms of a seed before the "
        "next seed",
    )
    command.add_argument(
        "--at-most",
        type=int,
        metavar="N",
        help="end after N training programs (with --apart: training runs); --resume trains the "
        "next ones",
    )


def add_run_options(command: argparse.ArgumentParser, *, default: str) -> None:
    """Add the options of `run` and `sweep`. `default` says where they write to."""
    command.add_argument(
        "file", type=path, metavar="FILE.yaml", help="see `spectral init` for examples"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change a setting: --set stream.num_tasks=20 --set algorithms.bp.lr=1e-2",
    )
    command.add_argument("--seeds", type=int, metavar="N", help="train each algorithm from N seeds")
    add_data_dir(command)
    command.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="how many host devices the members of a program are spread over; default: "
        "$JAX_NUM_CPU_DEVICES, or one",
    )
    command.add_argument("--out", type=path, metavar="FOLDER", help=f"default: {default}")
    both = command.add_mutually_exclusive_group()
    both.add_argument(
        "--resume", action="store_true", help="continue the run of the same settings in FOLDER"
    )
    both.add_argument(
        "--extend",
        action="store_true",
        help="train the run in FOLDER on further tasks: with --set stream.num_tasks=N, or with a "
        "file that has more tasks",
    )
    both.add_argument("--overwrite", action="store_true", help="replace the run in FOLDER")
    command.add_argument(
        "--keep-every",
        type=int,
        metavar="N",
        help="keep the checkpoints after every N tasks; default: only the latest",
    )
    command.add_argument(
        "--log",
        action="append",
        default=[],
        choices=["tensorboard", "wandb"],
        help="also write the records to FOLDER/events",
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, print what the command will take (steps, programs, time, memory) "
        "and write nothing",
    )
    command.add_argument(
        "--json", action="store_true", help="print the summary as JSON in the last line"
    )
