"""The declaration of the suite: its streams, networks, seeds and tuning budget."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, get_args, Literal

import numpy as np
from jaxtyping import Float

from ..._arguments import unknown_name
from ..experiment._settings import read_settings, SettingsError


Form = Literal["quick"]
Track = Literal["announced", "hidden"]

# Raised when the meaning of a score changes in a way that the declaration does not show.
VERSION = 1
MOST_SETTINGS = {"quick": 3}
TUNING_SEEDS = 1
SCORING_SEEDS = 3
FIRST_SCORING_SEED = 100


@dataclasses.dataclass(frozen=True)
class SuiteStream:
    """A stream of the suite with its network, and how it is tuned and scored.

    - `experiment`: the sections stream, model and probes.
    - `choose_by`: the measure that chooses a setting on the tuning seeds.
    - `measure`: the measure of the score, the mean over the last fifth of the tasks.
    - `guess`, `best`: its values of guessing and of a perfect learner, which score 0 and 1.
    - `lr`: the grid of a named algorithm.
    - `longest_period`: a default of `period` or `er_period` that is longer becomes this.
    """

    name: str
    experiment: dict[str, Any]
    choose_by: str
    measure: str
    guess: float
    best: float
    lr: Mapping[str, Any]
    longest_period: int

    def score(self, values: Float[np.ndarray, " seeds"]) -> Float[np.ndarray, " seeds"]:
        """The values as scores: 0 for guessing, for a run that diverged (NaN), and for whatever is
        worse than guessing, and 1 for a perfect learner."""
        scores = (values - self.guess) / (self.best - self.guess)
        return np.where(np.isnan(scores), 0.0, np.maximum(scores, 0.0))


@dataclasses.dataclass(frozen=True)
class Suite:
    """The streams of a form of the suite. `protocol` changes with every change of a declaration."""

    form: Form
    streams: tuple[SuiteStream, ...]
    protocol: str
    folder: pathlib.Path

    @property
    def most_settings(self) -> int:
        """How many settings an algorithm may try on a stream."""
        return MOST_SETTINGS[self.form]


def load_suite(form: Form) -> Suite:
    """Load a form of the suite, which is declared by YAML files in the package.

    ```python
    suite = studies.load_suite("quick")
    [stream.name for stream in suite.streams]  # ["permuted_digits", "random_labels", "markov"]
    ```

    **Raises:** `SettingsError` for an unknown form.
    """
    if form not in get_args(Form):
        raise SettingsError(unknown_name("`form`: Form", str(form), get_args(Form)))
    folder = pathlib.Path(__file__).with_name(form)
    files = sorted(folder.glob("*.yaml"))
    numbers = VERSION, MOST_SETTINGS[form], TUNING_SEEDS, SCORING_SEEDS, FIRST_SCORING_SEED
    digest = hashlib.sha256(repr(numbers).encode())
    streams = []
    for path in files:
        settings = read_settings(path)
        digest.update(repr(settings).encode())
        streams.append(SuiteStream(path.stem.partition("_")[2], **settings))
    return Suite(form, tuple(streams), digest.hexdigest()[:16], folder)


def check_track(track: str) -> None:
    """**Raises:** `SettingsError` if there is no such track."""
    if track not in get_args(Track):
        raise SettingsError(unknown_name("`track`: Track", str(track), get_args(Track)))
