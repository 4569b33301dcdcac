"""The settings of a published experiment, and how they differ from what was published."""

import dataclasses
from typing import Any, Literal


PresetName = Literal["paper", "dohare", "small"]
Settings = dict[str, Any]

# Settings that name a published experiment, instead of the sections that it defines.
BENCHMARK_KEYS = ("benchmark", "preset", "scale")


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Network, stream, algorithms and probes of a published experiment, as settings.

    `make_experiment(benchmark.settings)` makes the experiment.

    - `settings`: the whole experiment.
    - `smaller`: each setting that `scale` made smaller than in the preset, in words.
    - `departures`: how the preset differs from what was published.
    """

    name: str
    preset: PresetName
    scale: float
    settings: Settings
    smaller: tuple[str, ...]
    departures: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """The origin of the settings, for the record of a run."""
        return {
            "name": self.name,
            "preset": self.preset,
            "scale": self.scale,
            "smaller_than_the_preset": list(self.smaller),
            "differs_from_what_was_published": list(self.departures),
        }
