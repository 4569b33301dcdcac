"""The summary of an algorithm on the suite: one small file, which is a row of the table."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from ..experiment._settings import given_path, SettingsError
from ..runs._atomic_write import write_text
from ._aggregate import Scores
from ._suite import Suite, Track, VERSION


@dataclasses.dataclass(frozen=True)
class StreamScore:
    """An algorithm on a stream.

    - `setting`: what varies in its grid, as chosen on the tuning seeds.
    - `scores`: one for each scoring seed, 0 for guessing and for a run that diverged.
    - `diverged`: what diverged, with the setting; empty if nothing did.
    - `trainability`: the area under the loss curve of fresh networks on fresh tasks, divided by
      that of the trained network, after the last task. `None` if it is not known.
    """

    setting: dict[str, Any]
    scores: list[float]
    diverged: str
    trainability: float | None


@dataclasses.dataclass(frozen=True)
class SuiteSummary:
    """An algorithm on all streams of a form of the suite. `time` and `memory` are multiples of
    those of `bp`."""

    name: str
    form: str
    track: str
    version: int
    protocol: str
    time: float
    memory: float
    streams: dict[str, StreamScore]

    @property
    def scores(self) -> Scores:
        return np.array([found.scores for found in self.streams.values()]).T


def save_suite_summary(summary: SuiteSummary, path: pathlib.Path) -> None:
    """Write a summary as JSON."""
    write_text(path, json.dumps(dataclasses.asdict(summary), indent=1) + "\n")


def load_suite_summary(path: str | os.PathLike[str], suite: Suite, track: Track) -> SuiteSummary:
    """Read the summary of an algorithm.

    ```python
    path = "runs/suite/quick/announced/l2_er/summary.json"
    summary = studies.load_suite_summary(path, studies.load_suite("quick"), "announced")
    ```

    **Raises:** `SettingsError` if the file cannot be read, is damaged, or is of another version,
    protocol or track.
    """
    path = given_path("path", path)
    score = "score the algorithm again, or remove the file."
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        streams = {name: StreamScore(**found) for name, found in about.pop("streams").items()}
        summary = SuiteSummary(streams=streams, **about)
        lengths = {len(found.scores) for found in streams.values()}
        known = [stream.name for stream in suite.streams]
        if summary.version == VERSION and summary.protocol == suite.protocol:
            if (
                list(streams) != known
                or len(lengths) != 1
                or not np.all(np.isfinite(summary.scores))
            ):
                raise ValueError(f"it must have finite scores of {', '.join(known)}")
    except OSError as error:
        raise SettingsError(f"{str(path)!r} cannot be read: {error.strerror}; {score}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(f"{str(path)!r} is damaged ({error}): {score}") from error
    wanted = {"version": VERSION, "form": suite.form, "protocol": suite.protocol, "track": track}
    for name, value in wanted.items():
        if getattr(summary, name) != value:
            raise SettingsError(
                f"{str(path)!r} has the {name} {getattr(summary, name)!r}, but the table needs "
                f"{value!r}: {score}"
            )
    return summary
