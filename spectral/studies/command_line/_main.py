"""The commands of the command line."""

import argparse
import dataclasses
import functools
import importlib
import json
import os
import pathlib
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

# The contents of these two are imported when first used, so that help is printed at once.
from ... import recording, studies
from ..runs._devices import choose_devices
from ..runs.protection._stop import Terminated
from ._cluster_options import cluster_of
from ._parser import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: success; 1: a training run diverged; 2: the user has to change something, which a message on
    standard error names; 70: a fault of the package or of a part of one's own, whose traceback is
    in a file that the message names; 130: interrupted; 141: nobody reads the output any longer;
    143: ended by SIGTERM.
    """
    known = parser()
    if "_ARGCOMPLETE" in os.environ:  # set by the shell when it completes a line
        importlib.import_module("argcomplete").autocomplete(known)
    given = known.parse_args(arguments)
    if "devices" in given and (wrong := choose_devices(given.devices)):
        print(f"spectral {given.name}: {wrong}", file=sys.stderr)
        return 2
    commands = {"run": _run, "sweep": _sweep, "plot": _plot, "landscape": _landscape}
    commands |= {"predictors": _predictors, "claims": _claims, "score": _score}
    commands |= {"report": _report, "data": _data, "list": _list, "show": _show, "init": _init}
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_show_warning, given.name)
            status = commands[given.name](given)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        message = "Interrupted. Continue `spectral run` or `spectral sweep` with --resume."
        print(message, file=sys.stderr)
        return 130
    except Terminated as end:
        message = "Terminated. What was trained is saved: continue the same command with --resume."
        print(message, file=sys.stderr)
        return int(str(end.code))
    except BrokenPipeError:
        # As of `spectral list | head`. Python would report the rest of the output when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (studies.SettingsError, OSError) as error:
        print(f"spectral {given.name}: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(
            f"spectral {given.name}: The memory is full ({error}): lower the sizes or numbers "
            "that the command works with.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:
        print(f"spectral {given.name}: {_unforeseen(error)}", file=sys.stderr)
        return 70


def _show_warning(command: str, message: Warning | str, *about: Any, **_: Any) -> None:
    """Print a warning as one line, without the place in the source that Python adds."""
    print(f"spectral {command}: Warning: {' '.join(str(message).split())}", file=sys.stderr)


def _unforeseen(error: Exception) -> str:
    """The message for an error that no part of the package has foreseen."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="spectral-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    first = (str(error).splitlines() or [""])[0][:200]
    return (
        f"{type(error).__name__}: {first}. This is a fault of the package, or of a part of your "
        f"own: the traceback in {file.name} says where. Please report it."
    )


def _run(given: argparse.Namespace) -> int:
    cluster = cluster_of(given)
    experiment = studies.load_experiment(
        given.file, assignments=given.set, seeds=given.seeds, data_dir=given.data_dir
    )
    apart = {"apart": given.apart, "at_most": given.at_most}
    if given.dry_run:
        return _dry_run(given, experiment, **apart)
    results = studies.run_experiment(
        experiment, _folder(given), **apart, **_shell(given), cluster=cluster
    )
    summary = studies.summarise(results)
    studies.save_summary(results.folder, summary)
    diverged = [m for m in results.members if m.status == "diverged"]
    for member in diverged:
        where = f"{member.algorithm}, seed {member.seed}"
        print(f"{where}, diverged: {member.message}.", file=sys.stderr)
    print(studies.table(summary))
    ended = sum(member.status != "unfinished" for member in results.members)
    if ended < (total := len(experiment.algorithms) * experiment.seeds):
        print(f"\n{ended} of {total} training runs have ended. --resume trains the next ones.")
    print(f"\nThe results are in {results.folder}. To draw them: spectral plot {results.folder}")
    if given.json:
        print(json.dumps({"folder": str(results.folder)} | summary, allow_nan=False))
    return 1 if diverged else 0


def _sweep(given: argparse.Namespace) -> int:
    cluster = cluster_of(given)
    sweep = studies.load_sweep(
        given.file, assignments=given.set, seeds=given.seeds, data_dir=given.data_dir
    )
    folder = _folder(given)
    if given.dry_run:
        return _dry_run(given, sweep)
    table = studies.run_sweep(sweep, folder, **_shell(given), cluster=cluster)
    print(studies.sweep_table(table, sweep.score))
    best = f"The best cells are in {folder / 'selected.yaml'}, for spectral run. "
    best = best if any(table["selected"]) else ""
    print(f"\n{best}To see all cells: spectral report {folder}")
    if given.json:
        rows = json.loads(str(table.to_json(orient="records")))
        print(json.dumps({"folder": str(folder), "score": str(sweep.score), "cells": rows}))
    return 1 if max(table["diverged"]) > 0 else 0


_TOTALS = ("steps", "programs", "seconds", "peak_bytes")


def _dry_run(given: argparse.Namespace, planned: Any, **apart: Any) -> int:
    plan = studies.dry_run(planned, _folder(given), **apart, **_shell(given))
    print(studies.plan_table(plan))
    print("\nNothing was written. To train: the same command without --dry-run.")
    if given.json:
        totals = {name: getattr(plan, name) for name in _TOTALS}
        print(json.dumps(totals | dataclasses.asdict(plan)))
    return 0


def _plot(given: argparse.Namespace) -> int:
    runs = [studies.load_results(folder) for folder in given.folders]
    options: dict[str, Any] = {"only": given.only, "smooth": given.smooth}
    if len(runs) > 1:
        drawn = studies.draw_side_by_side(runs, given.out or pathlib.Path("figures"), **options)
    else:
        drawn = studies.draw_figures(runs[0], folder=given.out, **options)
    for path in drawn:
        print(path)
    return 0


def _landscape(given: argparse.Namespace) -> int:
    drawn = studies.draw_run_landscapes(
        given.folder,
        algorithms=given.algorithm,
        seed=given.seed,
        num_examples=given.num_examples,
        reach=given.reach,
        data_dir=given.data_dir,
    )
    for path in drawn:
        print(path)
    return 0


def _predictors(given: argparse.Namespace) -> int:
    try:
        protocol = studies.PredictorProtocol(
            outcome=given.outcome,
            tuning_seeds=given.tuning_seeds,
            epsilon=given.epsilon,
            variant=given.variant,
        )
    except ValueError as error:
        raise studies.SettingsError(str(error)) from error
    ranking = studies.rank_predictors(given.folders, protocol=protocol)
    alone = given.folders[0] / "predictors" if len(given.folders) == 1 else None
    folder = given.out or alone or pathlib.Path("predictors")
    files = studies.save_predictors(ranking, folder)
    files += studies.draw_predictors(ranking, folder=folder)
    if given.json:
        print(files[2].read_text(encoding="utf-8"), end="")
    else:
        print(studies.predictors_table(ranking))
        print(f"\nThe tables and the figure are in {folder}.")
    return 0


def _claims(given: argparse.Namespace) -> int:
    verdicts = studies.judge_claims(given.folder)
    files = studies.write_claims(verdicts, given.out or given.folder)
    print(studies.claims_table(verdicts))
    print(f"\nThe pages: {', '.join(map(str, files))}.")
    return 0


def _score(given: argparse.Namespace) -> int:
    suite, track = studies.load_suite(given.form), given.track
    found, messages = studies.suite_baselines(suite, track)
    own = None
    if given.algorithm is not None:
        stem = pathlib.PurePath(given.algorithm.rpartition(":")[2]).stem
        folder = given.out or pathlib.Path("runs", "suite", given.form, track, stem)
        own = studies.score_algorithm(given.algorithm, folder, form=given.form, track=track)
        found = [*(s for s in found if s.name != own.name), own]
    for message in messages:
        print(f"spectral score: Warning: {message}", file=sys.stderr)
    print(studies.suite_table(found, about=None if own is None else own.name))
    return 0 if own is None or not any(s.diverged for s in own.streams.values()) else 1


def _report(given: argparse.Namespace) -> int:
    print(studies.write_report(given.folders, given.out))
    return 0


def _data(given: argparse.Namespace) -> int:
    if given.name_of_command == "list":
        print(studies.prepared_data(data_dir=given.data_dir))
    else:
        print(studies.prepare_data(given.name_of_set, data_dir=given.data_dir))
    return 0


def _list(given: argparse.Namespace) -> int:
    print(studies.known_parts(kind=given.kind))
    return 0


def _show(given: argparse.Namespace) -> int:
    print(studies.describe_part(given.part))
    return 0


def _init(given: argparse.Namespace) -> int:
    name = given.example
    if name is None and given.out is None:
        print(studies.known_examples())
        print("\nTo write one: spectral init NAME --out FILE.yaml")
    elif name is None:
        raise studies.SettingsError(
            f"`--out` is {str(given.out)!r}, but no example is named: run `spectral init` to see "
            "their names."
        )
    else:
        path = studies.write_example(name, given.out or f"{pathlib.PurePath(name).name}.yaml")
        command = "sweep" if name.startswith("sweeps/") else "run"
        print(f"{path}\n\nTo train it: spectral {command} {path}")
    return 0


def _folder(given: argparse.Namespace) -> pathlib.Path:
    name = given.file.stem if given.name == "run" else f"{given.file.stem}_sweep"
    return given.out or pathlib.Path("runs") / name


def _shell(given: argparse.Namespace) -> dict[str, Any]:
    """The options of the training that are not those of the experiment or of a cluster."""
    loggers = {"tensorboard": recording.TensorBoard, "wandb": recording.WeightsAndBiases}
    modes = ("resume", "extend", "overwrite")
    return {
        "mode": next((mode for mode in modes if getattr(given, mode)), "new"),
        "keep_every": given.keep_every,
        "loggers": [loggers[name] for name in given.log],
    }
