"""An algorithm with further transforms."""

from dataclasses import replace

from .._base._algorithm import Algorithm
from .._base._protocols import AbstractTransform


def followed_by(algorithm: Algorithm, transforms: tuple[AbstractTransform, ...]) -> Algorithm:
    """Returns the algorithm with these transforms after its own.

    The output layer is set to zero at every task, as in Dohare et al.'s Continual ImageNet:

    ```python
    zero_head = Reset(part="head", to="zero")
    followed_by(l2(sgd(3e-2, momentum=0.9), weight_decay=3e-6), (zero_head,))
    ```
    """
    return replace(algorithm, transforms=(*algorithm.transforms, *transforms))
