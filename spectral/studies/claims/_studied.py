"""What a study has recorded so far, as far as it can be read."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from spectral_plasticity import installed_version

from ..experiment._settings import SettingsError
from ..published._example_files import example_files
from ..published._load import read_experiment
from ..runs._folder import CONFIG, read_config
from ..runs._quantities import load_quantities
from ..runs._results import load_member, Member, Results
from ..runs.protection._damage import DamagedError
from ._studies import Study
from ._verdict import Runs


class Studied(NamedTuple):
    """The runs of a study.

    - `results`: all that could be read; `None` if there is nothing.
    - `runs`: the finished histories by algorithm and seed, which are judged. Empty if the runs are
      of other settings than those of the study.
    - `messages`: what is missing, damaged, unfinished or of another version, one sentence each.
    """

    study: Study
    folder: pathlib.Path
    results: Results | None
    runs: Runs
    messages: tuple[str, ...]

    @property
    def processors(self) -> str:
        """The processors that the finished runs were trained on."""
        members = () if self.results is None else self.results.members
        names = {m.processor or "not recorded" for m in members if m.status == "finished"}
        return ", ".join(sorted(names)) or "none"

    @property
    def command(self) -> str:
        """The command that trains the next unit."""
        return self.study.command(self.folder.as_posix())


def read_study(study: Study, root: pathlib.Path) -> Studied:
    """Read the folder of a study below `root`. Nothing that is missing or damaged raises."""
    folder = root / (study.folder or study.name)
    if not (folder / CONFIG).exists():
        return Studied(study, folder, None, {}, (f"{study.name} has not been run.",))
    try:
        settings, quantities = read_config(folder), load_quantities(folder)
    except (SettingsError, DamagedError, OSError) as error:
        return Studied(study, folder, None, {}, (f"{study.name} cannot be read: {error}",))
    members: list[Member] = []
    messages: list[str] = []
    for algorithm in settings["algorithms"]:
        for seed in range(settings["seeds"]):
            try:
                member = load_member(folder, algorithm, seed, quantities=quantities)
            except DamagedError as error:
                messages.append(f"{study.name}: {error}")
                continue
            if member is not None:
                members.append(member)
    results = Results(folder, settings, tuple(members))
    messages += _unfinished(study, results)
    other = _other_settings(study, settings)
    if other:
        messages.append(
            f"{study.name} was run with other settings than {study.file}, so it is not judged: "
            f"{other}. Run the file into another folder, and move this one away."
        )
    version = results.recorded.get("spectral")
    if version != installed_version():
        messages.append(
            f"{study.name} was run by version {version} of spectral, and this is "
            f"{installed_version()}: its numbers may differ from those of a new run."
        )
    return Studied(study, folder, results, {} if other else _finished(results), tuple(messages))


def _finished(results: Results) -> Runs:
    return {a: {m.seed: m.history for m in own} for a, own in results.finished.items()}


def _unfinished(study: Study, results: Results) -> list[str]:
    found = []
    for status, meaning in (
        (
            "unfinished",
            "stopped half-way and do not count: the command of the study continues them",
        ),
        ("diverged", "diverged and do not count"),
    ):
        names = [f"{m.algorithm} seed {m.seed}" for m in results.members if m.status == status]
        if names:
            found.append(f"{study.name}: {', '.join(names)} {meaning}.")
    return found


def _other_settings(study: Study, settings: Mapping[str, Any]) -> str:
    """The first setting of the file that the run did not have; empty if there is none."""
    files = example_files()
    key = f"results/{study.name}"
    if key not in files:
        return ""  # made by a sweep
    wanted, _ = read_experiment(files[key])
    return _differs({n: v for n, v in wanted.items() if n != "seeds"}, settings, "")


def _differs(wanted: Any, found: Any, path: str) -> str:
    """Where a run, which records defaults too, does not have what a file says."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return f"`{path}` is {found!r} in the run"
        for name, value in wanted.items():
            own = f"{path}.{name}" if path else str(name)
            if name not in found:
                return f"`{own}` does not exist in the run"
            if wrong := _differs(value, found[name], own):
                return wrong
        return ""
    return (
        "" if wanted == found else f"`{path}` is {found!r} in the run, and {wanted!r} in the file"
    )
