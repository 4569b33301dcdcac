"""The command line."""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

# Everything heavy is reached through this name when it is used, so that help comes at once.
from .. import studies


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    0: all went well; 1: a training run diverged; 2: something has to be changed first, which
    standard error names; 130: interrupted.
    """
    given = _parser().parse_args(arguments)
    try:
        return given.command(given)
    except KeyboardInterrupt:
        print("Interrupted. `spectral run` goes on with --resume.", file=sys.stderr)
        return 130
    except studies.SettingsError as error:
        print(f"spectral {given.name}: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    folder = given.out or pathlib.Path("runs") / given.file.stem
    mode = "resume" if given.resume else "overwrite" if given.overwrite else "new"
    experiment = studies.load_experiment(
        given.file, given.set, seeds=given.seeds, data_dir=given.data_dir
    )
    results = studies.run_experiment(experiment, folder, mode=mode)
    summary = studies.summarise(results)
    studies.save_summary(folder, summary)
    diverged = [m for m in results.members if m.status == "diverged"]
    for m in diverged:
        print(f"{m.algorithm}, seed {m.seed}, diverged: {m.message}.", file=sys.stderr)
    print(studies.table(summary))
    print(f"\nThis is kept in {folder}. To draw it: spectral plot {folder}")
    if given.json:
        print(json.dumps({"folder": str(folder)} | summary, allow_nan=False))
    return 1 if diverged else 0


def _plot(given: argparse.Namespace) -> int:
    for path in studies.draw_figures(studies.load_results(given.folder)):
        print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectral",
        description="Loss of plasticity in continual learning: run experiments that YAML files "
        "describe, and draw what they recorded.",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="train every algorithm of a YAML file from every seed",
        description="Train every algorithm of a YAML file from every seed, write histories and "
        "checkpoints to a folder, and print a summary.",
        epilog="Exit status: 0 all went well, 1 a training run diverged, 2 something has to be "
        "changed first (nothing was written).",
    )
    run.add_argument("file", type=pathlib.Path, metavar="FILE.yaml", help="see examples/")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change a setting: --set stream.num_tasks=20 --set algorithms.bp.lr=1e-2",
    )
    run.add_argument("--seeds", type=int, metavar="N", help="train each algorithm from N seeds")
    run.add_argument("--data-dir", metavar="FOLDER", help="prepared data sets, for load_images")
    run.add_argument(
        "--out", type=pathlib.Path, metavar="FOLDER", help="default: runs/<name of the file>"
    )
    both = run.add_mutually_exclusive_group()
    both.add_argument(
        "--resume", action="store_true", help="go on with a run of the same settings in FOLDER"
    )
    both.add_argument("--overwrite", action="store_true", help="replace the run in FOLDER")
    run.add_argument(
        "--json", action="store_true", help="print the summary as JSON, in the last line"
    )
    run.set_defaults(command=_run)
    plot = commands.add_parser(
        "plot",
        help="draw the figures of a run",
        description="Draw the figures of a run, as PNG and PDF, into FOLDER/figures.",
    )
    plot.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="what --out named")
    plot.set_defaults(command=_plot)
    return parser
