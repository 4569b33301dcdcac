"""An algorithm with further transforms."""

from .._base._algorithm import AbstractTransform, Algorithm


def followed_by(algorithm: Algorithm, transforms: tuple[AbstractTransform, ...]) -> Algorithm:
    """The algorithm, and these transforms after its own.

    A head of zeros at every task, as in Dohare et al.'s Continual ImageNet:

    ```python
    followed_by(l2(sgd(3e-2, momentum=0.9), weight_decay=3e-6), (Reset("head", to="zero"),))
    ```
    """
    return Algorithm(
        algorithm.optimiser,
        penalties=algorithm.penalties,
        transforms=(*algorithm.transforms, *transforms),
    )
