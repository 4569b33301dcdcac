"""The examples of experiments and sweeps that come with the package."""

import os
import pathlib

from ..._arguments import unknown_name
from ..experiment._settings import given_path, SettingsError
from ..measures._align import align
from ..published._example_files import example_files
from ..runs._atomic_write import write_text
from ._first_sentence import first_sentence


def known_examples() -> str:
    """The examples of experiments and sweeps, with a line for each: its name and what it is.

    ```python
    print(studies.known_examples())
    ```
    """
    return align([(name, _title(path)) for name, path in example_files().items()])


def write_example(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """Write a copy of an example, to run it or to change it.

    ```python
    studies.write_example("digits", "mine.yaml")
    ```

    **Arguments:**

    - `name`: such as `"digits"` or `"sweeps/digits"`; `known_examples` lists all.
    - `path`: the file to write. Missing folders are created.

    **Returns:** `path`.

    **Raises:** `SettingsError` if the example does not exist, if there is a file at `path`
    already, or if it cannot be written.
    """
    known, path = example_files(), given_path("path", path)
    if name not in known:
        raise SettingsError(unknown_name("Example", name, known))
    if path.exists():
        raise SettingsError(f"`--out` is {str(path)!r}, which exists already: name a new file.")
    # The comments show commands with the file and the run folder of the example.
    text = known[name].read_text(encoding="utf-8").replace(f"examples/{name}.yaml", str(path))
    text = text.replace(f"runs/{known[name].stem}", f"runs/{path.stem}")
    try:
        write_text(path, text)
    except OSError as error:
        raise SettingsError(
            f"`--out` is {str(path)!r}, which cannot be written: {error.strerror}. Name another "
            "file."
        ) from error
    return path


def _title(path: pathlib.Path) -> str:
    """The first sentence of the comment at the top of an example."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return first_sentence("\n".join(comment))
