"""A check that labels are classes."""

from ..sets._labelled_data import AbstractLabelledData, check_labelled


def check_classes(data: AbstractLabelledData) -> int:
    """Returns the number of classes.

    **Raises:** `TypeError` if `data` is not labelled data; `ValueError` if the labels are not
    classes.
    """
    check_labelled("data", data)
    if not data.has_classes:
        raise ValueError(
            f"`data` is {data.name!r}, whose labels are numbers or several answers for each row, "
            "but this stream needs one class for each row: pass classes, or choose a stream that "
            "changes the inputs, such as `PermutedInputs`."
        )
    return data.out_size
