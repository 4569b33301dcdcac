"""Data sets on the command line."""

import pathlib

from ...tasks import prepare_images, prepared_images
from ..experiment._settings import SettingsError


def prepared_data(*, data_dir: str | None = None) -> str:
    """A line for each data set that is prepared in a folder: its name and versions.

    ```python
    print(studies.prepared_data("data"))
    ```

    `data_dir` is as `spectral.tasks.load_images` takes it.
    """
    found = prepared_images(data_dir=data_dir)
    lines = [f"{name}  {', '.join(versions)}" for name, versions in found.items()]
    return "\n".join(["digits  (comes with scikit-learn)", *lines])


def prepare_data(name: str, *, data_dir: str | None = None) -> pathlib.Path:
    """Download and prepare a data set; see `spectral.tasks.prepare_images`.

    **Raises:** `SettingsError` where that is not possible.
    """
    try:
        return prepare_images(name, data_dir=data_dir)
    except (ModuleNotFoundError, ValueError, OSError) as error:
        raise SettingsError(str(error)) from error
