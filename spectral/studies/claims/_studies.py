"""The studies whose runs decide the claims: one file of settings and one folder for each."""

import pathlib
from typing import NamedTuple


class Study(NamedTuple):
    """A study of the protocol.

    - `name`: of its file, `examples/results/NAME.yaml`, and of its page.
    - `title`: of its page.
    - `scale`: what is smaller than in the paper.
    - `data`: the data set that it reads; empty if nothing has to be prepared.
    - `sweep`: the file of the sweep whose best cells it trains; empty if it has a file of its own.
    - `folder`: the name of its run folder; empty if it is `name`. A study of signs may have that.
    """

    name: str
    title: str
    scale: str
    data: str = ""
    sweep: str = ""
    folder: str = ""

    @property
    def file(self) -> str:
        """The file of its settings. That of a sweep does not exist before the sweep."""
        if self.sweep:
            return f"runs/{self.name}_sweep/selected.yaml"
        return f"examples/results/{self.name}.yaml"

    def command(self, folder: str) -> str:
        """The command that trains the next missing unit into a folder."""
        data = " --data-dir FOLDER" if self.data else ""
        if self.sweep and not pathlib.Path(self.file).exists():
            return f"spectral sweep {self.sweep} --out runs/{self.name}_sweep --resume{data}"
        more = " --seeds 5 --set stream.num_tasks=100" if self.sweep else ""
        return f"spectral run {self.file}{more} --out {folder} --apart --at-most 1 --resume{data}"


STUDIES = (
    Study(
        "permuted_digits",
        "Permuted digits",
        "ours, in the place of Permuted MNIST: 8 x 8 images, MLP 3 x 100, 200 tasks of 1,500 "
        "online steps",
    ),
    Study(
        "permuted_digits_recipes",
        "Permuted digits, all other recipes",
        "as permuted_digits",
    ),
    Study(
        "permuted_mnist",
        "Permuted MNIST at the rates of the paper",
        "MLP 3 x 100 in place of 3 x 1000, 100 tasks in place of 800, 60,000 online steps each",
        "mnist",
        folder="permuted_mnist_claims",
    ),
    Study(
        "permuted_mnist_best",
        "Permuted MNIST at the best rates of this width",
        "as permuted_mnist; rates from one tuning seed and 40 tasks",
        "mnist",
        sweep="examples/sweeps/permuted_mnist_width_100.yaml",
    ),
    Study(
        "continual_imagenet",
        "Continual ImageNet",
        "the small preset with 200 tasks in place of 2000: 100 classes, 150 images each, a quarter "
        "of the channels, 5 epochs in place of 250",
        "tiny_imagenet32",
    ),
    Study(
        "incremental_cifar",
        "Incremental CIFAR",
        "the small preset with all 20 increments: ResNet of width 4, 150 images of each class, 12 "
        "epochs in place of 200",
        "cifar100",
    ),
    Study(
        "point_mass",
        "Point mass",
        "ours: PPO on a point mass whose friction alternates, 20 tasks",
        folder="point_mass_claims",
    ),
    Study(
        "slippery_ant",
        "Slippery Ant",
        "the preset of the paper with 5 million steps in place of 20 million; BP and L2-ER alone",
    ),
)
