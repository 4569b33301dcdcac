"""The data sets on this machine, for the command line."""

import pathlib

from ..._base._paths import expanded
from ...tasks import prepare_images, prepared_images
from ..experiment._settings import SettingsError


def prepared_data(*, data_dir: str | None = None) -> str:
    """A line for each prepared data set in a folder, with its name and versions.

    ```python
    print(studies.prepared_data(data_dir="data"))
    ```

    `data_dir` is that of `spectral.tasks.load_images`.

    **Raises:** `SettingsError` if a given `data_dir` is not a folder.
    """
    if data_dir is not None and not expanded("data_dir", data_dir).is_dir():
        raise SettingsError(
            f"`--data-dir` is {data_dir!r}, which is not a folder: name the folder of the data "
            "sets, or leave it out."
        )
    found = prepared_images(data_dir=data_dir)
    lines = [f"{name}  {', '.join(versions)}" for name, versions in found.items()]
    return "\n".join(["digits  (part of scikit-learn)", *lines])


def prepare_data(name: str, *, data_dir: str | None = None) -> pathlib.Path:
    """Download and prepare a data set; see `spectral.tasks.prepare_images`.

    **Raises:** `SettingsError` if that fails.
    """
    try:
        return prepare_images(name, data_dir=data_dir)
    except (ModuleNotFoundError, ValueError, OSError, AssertionError) as error:
        # TensorFlow Datasets raises AssertionError for a version that does not exist.
        raise SettingsError(str(error)) from error
