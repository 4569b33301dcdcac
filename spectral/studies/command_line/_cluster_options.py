"""The options that say where the programs of a run or a sweep are trained."""

import argparse
from typing import Any

# Its contents are imported when first used, so that help is printed at once.
from ... import studies


# The options that each cluster takes, and the arguments they are.
_TAKES = {
    None: (),
    "ray": ("address", "cpus", "gpus", "retries"),
    "slurm": ("cpus", "gpus", "retries", "minutes", "slurm"),
}
_ALL = ("address", "cpus", "gpus", "retries", "minutes", "slurm")


def add_cluster_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a cluster."""
    group = command.add_argument_group(
        "cluster", "train the groups of what one program trains as jobs of a cluster"
    )
    group.add_argument(
        "--cluster",
        choices=[name for name in _TAKES if name],
        help="needs the extra `cluster`, and FOLDER on storage that all machines share; default: "
        "train in this process",
    )
    group.add_argument(
        "--address", metavar="HOST:PORT", help="of the Ray cluster; default: one that is found"
    )
    group.add_argument("--cpus", type=int, metavar="N", help="CPUs of a group; default: 1")
    group.add_argument("--gpus", type=int, metavar="N", help="GPUs of a group; default: 0")
    group.add_argument(
        "--retries",
        type=int,
        metavar="N",
        help="how often in a row a group may lose its worker without progress; default: 3",
    )
    group.add_argument(
        "--minutes", type=int, metavar="N", help="the time limit of a job of Slurm; default: 60"
    )
    group.add_argument(
        "--slurm",
        action="append",
        metavar="NAME=VALUE",
        help="an option of Slurm: --slurm partition=gpu --slurm account=mine",
    )


def cluster_of(
    given: argparse.Namespace,
) -> "studies.AbstractCluster":  # evaluated, it would import the rest
    """The cluster that the options name.

    **Raises:** `SettingsError` if an option is not one of that cluster, or has a wrong value.
    """
    options = {name: getattr(given, name) for name in _ALL if getattr(given, name) is not None}
    for name in options:
        if name not in _TAKES[given.cluster]:
            of = [cluster for cluster, names in _TAKES.items() if name in names]
            raise studies.SettingsError(
                f"`--{name}` is {options[name]!r}, but is an option of --cluster "
                f"{' and --cluster '.join(map(str, of))}: add it, or leave --{name} out."
            )
    if "slurm" in options:
        options["options"] = dict(map(_pair, options.pop("slurm")))
    clusters: dict[str | None, Any] = {"ray": studies.RayCluster, "slurm": studies.SlurmCluster}
    try:
        return clusters.get(given.cluster, studies.ThisProcess)(**options)
    except ValueError as error:
        raise studies.SettingsError(str(error)) from error


def _pair(assignment: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals or not name:
        raise studies.SettingsError(
            f"`--slurm` is {assignment!r}, but must be NAME=VALUE: for example partition=gpu."
        )
    return name, value
