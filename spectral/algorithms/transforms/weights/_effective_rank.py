"""Effective-rank regularisation."""

from dataclasses import replace

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Learner, Signal
from ....models import feature_effective_rank
from ..._base._arguments import as_positive, Number
from ..._base._named import Names, optional_names
from ..._base._protocols import AbstractTransform
from ._feature_layers import feature_matrices


class EffectiveRank(AbstractTransform[None]):
    """A plain gradient step that raises the effective rank of the features.

    The objective is the mean over layers of the effective rank of the feature matrix F_l (paper,
    Appendix D.1 and Algorithm 1). The rows of F_l are the examples of the last `window`
    minibatches; their features are computed again with the present parameters. The layers are the
    dense hidden layers: those whose activations are vectors. The step has its own learning rate
    `lr`, without momentum or weight decay. This forward pass also updates running statistics.

    In a transformer each token of each example is a row. The layers are the hidden units of every
    block, and the residual stream after the last block, before the last norm. The paper has no
    transformers; the hidden units are what its dense layers are, and the stream is what the output
    layer reads, where the norm cannot raise the rank by a scale of its own. Tokens that the loss
    does not count are rows as well.

    Use it under `Periodic(..., period)`, with a period that is a multiple of the window.

    ```python
    Periodic(EffectiveRank(1e-3, 50, layers=("block_*_mlp", "features")), 50)
    ```
    """

    lr: Float[Array, ""]
    window: int = eqx.field(static=True, converter=as_int)
    layers: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(self, lr: Number, window: int, *, layers: Names | None = None):
        """**Arguments:**

        - `lr`: the learning rate of the step.
        - `window`: the number of minibatches whose examples are the rows.
        - `layers`: the names of the layers, as in the taps, of those that have vectors of features
          (`models.vectors_of_features`); `*` stands for any text. By default as above.

        **Raises:** `ValueError` for an `lr` that is not positive or a window below one.
        """
        self.lr = as_positive("lr", lr)
        check_count("window", window)
        self.window = window
        self.layers = optional_names("layers", layers)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        return None

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a window that does not divide the chunk, a model without a
        dense hidden layer, or a name in `layers` that fits no layer."""
        batch = signal.window(self.window)

        def objective(model):
            taps, model_state = signal.taps_of(replace(learner, model=model), batch, key=key)
            matrices = feature_matrices(model, taps, self.layers)
            ranks = [feature_effective_rank(features) for features in matrices]
            return sum(ranks) / len(ranks), model_state

        grads, model_state = eqx.filter_grad(objective, has_aux=True)(learner.model)
        model = eqx.apply_updates(learner.model, jax.tree.map(lambda g: self.lr * g, grads))
        return replace(learner, model=model, model_state=model_state), state
