"""Decoding a data set that TensorFlow Datasets has prepared."""

import io
import pathlib
import warnings
from typing import Any

import numpy as np
import PIL.Image

from ._files import check_descriptions, check_shards, reading


_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names, by the number of channels
_BATCH = 1000  # rows that are read at once
DECODED = ("train_images", "train_labels", "test_images", "test_labels", "num_classes")


def decode(name: str, source: pathlib.Path) -> dict[str, np.ndarray]:
    """Decode the arrays named in `DECODED` from the files in folder `source`.

    **Raises:** `ValueError` if the data set does not have the features or splits of `load_images`,
    and, naming the split and the file or row, if its files are damaged or missing.
    """
    check_descriptions(name, source)
    # The caller cannot act on warnings about the code of TensorFlow Datasets.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds

        with reading(name, f"the description in {str(source)!r}"):
            builder = tfds.builder_from_directory(source)
            info = builder.info
            # These are computed when they are asked for.
            _ = info.features, info.supervised_keys, [s.filepaths for s in info.splits.values()]
            _ = info.available_file_formats()
        features = _features(name, info, tfds)
        held_out = _held_out(name, info)
        train = _rows(name, builder, features, "train", tfds)
        test = _rows(name, builder, features, held_out, tfds)
    _, label = features.values()
    return dict(zip(DECODED, (*train, *test, np.asarray(label.num_classes)), strict=True))


def _features(name: str, info: Any, tfds: Any) -> dict[str, Any]:
    """The image and label features of a data set, in this order, by their names."""
    keys = [str(key) for key in info.supervised_keys or ("image", "label")]
    chosen = {key: info.features[key] for key in keys if key in info.features}
    match list(chosen.values()):
        case [tfds.features.Image() as image, tfds.features.ClassLabel() as label]:
            fixed = None not in image.shape and image.shape[-1] in _MODES
            if fixed and image.np_dtype == np.uint8 and label.num_classes:
                return chosen
    raise ValueError(
        f"Data set {name!r} has the features {info.features}, but must have an 8-bit image of a "
        "fixed size, with 1, 3 or 4 channels, and one class label for it: choose another data set."
    )


def _held_out(name: str, info: Any) -> str:
    """The name of the held-out split. Checks the file format and that both splits exist."""
    formats = sorted(f.value for f in info.available_file_formats())
    if "array_record" not in formats:
        raise ValueError(
            f"Data set {name!r} was prepared in the format {', '.join(formats)}, but must be in "
            f"array_record: prepare it again with `spectral data prepare {name}`."
        )
    held_out = "test" if "test" in info.splits else "validation"
    if not {"train", held_out} <= set(info.splits):
        raise ValueError(
            f"Data set {name!r} has the splits {sorted(info.splits)}, but must have 'train', and "
            "'test' or 'validation': choose another data set."
        )
    return held_out


def _rows(
    name: str, builder: Any, features: dict[str, Any], split: str, tfds: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the images and labels of a split."""
    check_shards(name, builder.info.splits[split])
    image, label = features
    shape, num_classes = features[image].shape, features[label].num_classes
    parse = tfds.features.FeaturesDict(features).deserialize_example_np
    skip = {image: tfds.decode.SkipDecoding()}
    with reading(name, f"the split {split!r}"):
        records = builder.as_data_source(
            split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format="array_record",
        )
        images = np.empty((len(records), *shape), np.uint8)
        labels = np.empty(len(records), np.int32)
    for start in range(0, len(records), _BATCH):
        batch = range(start, min(start + _BATCH, len(records)))
        for row, record in zip(batch, _read(name, records, batch, split), strict=True):
            with reading(name, f"row {row} of the split {split!r}"):
                example = parse(record, decoders=skip)
                pixels, labels[row] = _pixels(example[image], shape[-1]), example[label]
            if pixels.shape != shape:
                raise ValueError(
                    f"Data set {name!r} declares images of shape {shape}, but row {row} of "
                    f"{split!r} is of shape {pixels.shape}: choose another data set."
                )
            if not 0 <= labels[row] < num_classes:
                raise ValueError(
                    f"Data set {name!r} declares {num_classes} classes, but row {row} of {split!r} "
                    f"has the label {labels[row]}: choose another data set."
                )
            images[row] = pixels
    return images, labels


def _read(name: str, records: Any, batch: range, split: str) -> list[bytes]:
    try:
        return records.__getitems__(list(batch))
    except Exception:  # read one row at a time, to name the one
        for row in batch:
            with reading(name, f"row {row} of the split {split!r}"):
                records.__getitems__([row])
        raise


def _pixels(encoded: bytes, channels: int) -> np.ndarray:
    # Decoding with Pillow takes a quarter of the time that TensorFlow Datasets takes.
    with PIL.Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)
