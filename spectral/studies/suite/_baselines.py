"""The baselines that come with the package, and those that are still to be scored."""

from ..experiment._settings import SettingsError
from ._entry import recipes
from ._suite import Suite, Track
from ._summary_file import load_suite_summary, SuiteSummary


def suite_baselines(suite: Suite, track: Track) -> tuple[list[SuiteSummary], list[str]]:
    """The summaries of the baselines that come with the package, and a message for each file that
    cannot be used, and for the recipes without one.

    ```python
    found, messages = studies.suite_baselines(studies.load_suite("quick"), "announced")
    ```
    """
    found, messages = [], []
    for path in sorted((suite.folder / track).glob("*.json")):
        try:
            found.append(load_suite_summary(path, suite, track))
        except SettingsError as error:
            messages.append(str(error))
    missing = sorted(recipes().keys() - {summary.name for summary in found})
    if missing:
        messages.append(
            f"{len(missing)} recipes have not been scored: {', '.join(missing)}. The next one: "
            f"spectral score {missing[0]} --form {suite.form} --track {track}."
        )
    return found, messages
