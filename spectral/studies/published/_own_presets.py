"""Presets that a file of an experiment has itself."""

from collections.abc import Mapping
from typing import Any

from ..._arguments import unknown_name
from ..experiment._settings import replaced, SettingsError


PRESETS_KEY = "presets"


def with_own_preset(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a file after the changes of one of its own presets.

    The section `presets` has the changes of each preset by name, which are dotted paths with their
    values, as of `--set`. Without the option `preset` nothing is changed.

    ```yaml
    presets:
      small: {seeds: 1, stream.num_tasks: 3, algorithms.redo.period: 100}
    ```

    **Raises:** `SettingsError` for a section of another form, an unknown preset, a path that does
    not exist, or an option that only benchmarks have.
    """
    for name in options.keys() - {"preset"}:
        raise SettingsError(
            f"`{name}` is {options[name]!r}, but the settings have `{PRESETS_KEY}` of their own, "
            f"which a benchmark has not: leave out `{name}` or `{PRESETS_KEY}`."
        )
    settings = dict(settings)
    presets = settings.pop(PRESETS_KEY)
    if not isinstance(presets, Mapping) or not all(
        isinstance(changes, Mapping) for changes in presets.values()
    ):
        raise SettingsError(
            f"`{PRESETS_KEY}` is {presets!r}, but must hold the changes of each preset by name: "
            "for example {small: {seeds: 1, stream.num_tasks: 3}}."
        )
    if "preset" not in options:
        return settings
    preset = options["preset"]
    if not isinstance(preset, str) or preset not in presets:
        raise SettingsError(unknown_name("`preset`: Preset", str(preset), map(str, presets)))
    for path, value in presets[preset].items():
        settings = replaced(settings, str(path), value)
    return settings
