"""The option for the folder of the data sets."""

import argparse

from ._paths import path


def add_data_dir(command: argparse.ArgumentParser) -> None:
    """Add `--data-dir`. The default is that of `spectral.tasks.load_images`."""
    command.add_argument(
        "--data-dir",
        type=lambda text: str(path(text)),
        metavar="FOLDER",
        help="the folder of the prepared data sets; default: `data_dir` in the file if there is "
        "one, else $TFDS_DATA_DIR, else ~/tensorflow_datasets",
    )
