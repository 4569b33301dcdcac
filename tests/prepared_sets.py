"""Data sets in the format of TensorFlow Datasets, written without TensorFlow."""

import io
import json

import numpy as np
import PIL.Image
from array_record.python.array_record_module import ArrayRecordWriter


def field(index, payload):
    """Returns a length-delimited field of a protocol buffer."""
    length, size = len(payload), b""
    while length >= 128:
        size, length = size + bytes([length % 128 + 128]), length // 128
    return bytes([index << 3 | 2]) + size + bytes([length]) + payload


def example(**values):
    """Returns a `tf.train.Example` of byte strings and integers below 128."""
    entries = b""
    for key, value in values.items():
        index = 1 if isinstance(value, bytes) else 3
        payload = value if isinstance(value, bytes) else bytes([value])
        feature = field(index, field(1, payload))
        entries += field(1, field(1, key.encode()) + field(2, feature))
    return field(1, entries)


def png(pixels):
    """Returns an image file with these pixels."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def feature(kind, module, **content):
    return {"pythonClassName": f"tensorflow_datasets.core.features.{module}.{kind}", **content}


def image_feature(*shape, dtype="uint8"):
    content = {"dtype": dtype, "shape": {"dimensions": [str(size) for size in shape]}}
    return feature("Image", "image_feature", image=content)


LABEL = feature("ClassLabel", "class_label_feature", classLabel={"numClasses": "3"})


def write(root, name="shapes", *, version="1.0.0", sizes=None, seed=0, shape=(4, 5, 3), **changes):
    """Write a data set of random images below `root`. Returns the images and labels by split.

    `changes` replace parts of the description: `features`, `keys`, `file_format`, `images`.
    """
    folder = root / name / version
    folder.mkdir(parents=True)
    sizes = {"train": 6, "test": 4} if sizes is None else sizes
    random = np.random.default_rng(seed)
    contents, splits = {}, []
    stem = name.split("/")[0]
    for split, size in sizes.items():
        images = random.integers(0, 256, (size, *shape), dtype=np.uint8)
        labels = np.arange(size) % 3
        contents[split] = (images, labels)
        path = folder / f"{stem}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for pixels, label in zip(changes.get("images", images), labels, strict=False):
            writer.write(example(image=png(pixels), label=int(label), other=2))
        writer.close()
        splits.append(
            {
                "name": split,
                "shardLengths": [str(size)],
                "numBytes": "1",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    features = {"image": image_feature(*shape), "label": LABEL, "other": LABEL}
    features = changes.get("features", features)
    keys = [{"featureKey": key} for key in changes.get("keys", ("image", "label"))]
    info = {
        "name": stem,
        "version": version,
        "fileFormat": changes.get("file_format", "array_record"),
        "moduleName": "shapes",
        "splits": splits,
        **({"supervisedKeys": {"tuple": {"items": keys}}} if keys else {}),
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    described = {"pythonClassName": kind, "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(described))
    return contents


def assert_holds(images, contents, held_out="test"):
    for part, split in (("train", "train"), ("test", held_out)):
        pixels, labels = contents[split]
        np.testing.assert_array_equal(getattr(images, f"{part}_images"), pixels)
        np.testing.assert_array_equal(getattr(images, f"{part}_labels"), labels)
