"""The argument parser. It imports nothing heavy, so that help is printed at once."""

import argparse
import pathlib


EXIT = "Exit status: 0 success, 1 a training run diverged, 2 something has to be changed first."


def parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    The chosen command is stored in `name`, and that of `data` in `name_of_command`.
    """
    top = argparse.ArgumentParser(
        prog="spectral",
        description="Loss of plasticity in continual learning: run experiments that YAML files "
        "describe, select settings, and draw the results.",
    )
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
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
    _add_run_options(run, default="runs/<name of the file>")
    _add_run_options(sweep, default="runs/<name of the file>_sweep")
    plot = commands.add_parser(
        "plot",
        help="draw the figures of a run, or several runs side by side",
        description="Draw the figures of a run as PNG and PDF in FOLDER/figures, or of several "
        "runs with a panel for each.",
    )
    _add_plot_options(plot)
    landscape = commands.add_parser(
        "landscape",
        help="draw the loss landscapes of the networks of a run",
        description="Draw the loss around the networks of a run, from its last checkpoints, in the "
        "plane of the two eigenvectors of the Hessian with the largest eigenvalues, at the start "
        "of the next task. Writes FOLDER/figures/landscape.png and .pdf.",
    )
    _add_landscape_options(landscape)
    report = commands.add_parser(
        "report",
        help="write a page about runs, for a browser",
        description="Write one self-contained page with interactive curves, spectra, scatter "
        "plots, settings and commands of one or several runs. It needs no network connection.",
    )
    report.add_argument("folders", type=pathlib.Path, nargs="+", metavar="FOLDER")
    report.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("report.html"),
        metavar="FILE.html",
        help="default: report.html",
    )
    _add_data_commands(commands.add_parser("data", help="list or prepare data sets of images"))
    return top


def _add_run_options(command: argparse.ArgumentParser, *, default: str) -> None:
    command.add_argument("file", type=pathlib.Path, metavar="FILE.yaml", help="see examples/")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change a setting: --set stream.num_tasks=20 --set algorithms.bp.lr=1e-2",
    )
    command.add_argument("--seeds", type=int, metavar="N", help="train each algorithm from N seeds")
    command.add_argument(
        "--data-dir", metavar="FOLDER", help="the folder of the prepared data sets"
    )
    command.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="how many host devices the members of a program are spread over; default: "
        "$JAX_NUM_CPU_DEVICES, or one",
    )
    command.add_argument("--out", type=pathlib.Path, metavar="FOLDER", help=f"default: {default}")
    both = command.add_mutually_exclusive_group()
    both.add_argument(
        "--resume", action="store_true", help="continue the run of the same settings in FOLDER"
    )
    both.add_argument("--overwrite", action="store_true", help="replace the run in FOLDER")
    command.add_argument(
        "--log",
        action="append",
        default=[],
        choices=["tensorboard", "wandb"],
        help="also write the records to FOLDER/events",
    )
    command.add_argument(
        "--json", action="store_true", help="print the summary as JSON in the last line"
    )


def _add_plot_options(plot: argparse.ArgumentParser) -> None:
    plot.add_argument(
        "folders", type=pathlib.Path, nargs="+", metavar="FOLDER", help="the folder of a run"
    )
    plot.add_argument(
        "--out",
        type=pathlib.Path,
        metavar="FOLDER",
        help="where the figures of several runs are written; default: figures",
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


def _add_landscape_options(landscape: argparse.ArgumentParser) -> None:
    landscape.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
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
    landscape.add_argument(
        "--data-dir", metavar="FOLDER", help="the folder of the prepared data sets"
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
        command.add_argument(
            "--data-dir",
            metavar="FOLDER",
            help="default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets",
        )
