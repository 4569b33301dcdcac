"""A published experiment as settings, and where they come from."""

import dataclasses
from typing import Any, Literal


PresetName = Literal["paper", "dohare", "small"]
Settings = dict[str, Any]

# The settings that name a published experiment, in place of the sections that it gives.
BENCHMARK_KEYS = ("benchmark", "preset", "scale")


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Network, stream, algorithms and probes of a published experiment, as YAML can hold them.

    `make_experiment(benchmark.settings)` puts them together.

    - `settings`: the whole experiment.
    - `smaller`: in words, each setting in which `scale` made it smaller than its preset.
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
        """What a run records about where its settings come from."""
        return {
            "name": self.name,
            "preset": self.preset,
            "scale": self.scale,
            "smaller_than_the_preset": list(self.smaller),
            "differs_from_what_was_published": list(self.departures),
        }
