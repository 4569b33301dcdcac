"""The networks of an actor and a critic."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from .._network import AbstractNetwork
from ..layers._call_key import one_key_each
from ..layers._initialisers import AbstractInitialiser
from ..layers._lecun_uniform import LecunUniform
from ..layers.activations._activation import Activation
from ..units._unit_group import UnitGroup
from ..units._within import within
from ._mlp import MLP
from ._policy import CategoricalPolicy, GaussianPolicy, PolicyAndValue


_LECUN_UNIFORM = LecunUniform()


class ActorCritic(AbstractNetwork):
    """A policy and a value function: two multilayer perceptrons that share no weights.

    The defaults are the network of Dohare et al. (2024) for Slippery Ant: two hidden layers of 256
    ReLUs each, weights of every layer uniform on +-sqrt(3 / fan_in), and zero biases. The logarithm
    of the standard deviation of the actions is a parameter that does not depend on the observation
    and is initialised to 0. The paper (Appendix J.1) has one hidden layer: `depth=1`.

    ```python
    model = ActorCritic(27, 8, key=jax.random.key(0))
    outputs, taps = model(jnp.zeros(27))   # taps: {"actor_hidden_0": [256], ...}
    outputs.policy.mean, outputs.value     # [8], []
    ```
    """

    actor: MLP
    critic: MLP
    log_std: Float[Array, " actions"] | None  # None for discrete actions
    actor_head: AbstractInitialiser
    critic_head: AbstractInitialiser
    initial_log_std: float = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        discrete: bool = False,
        width: int = 256,
        depth: int = 2,
        activation: Activation = "relu",
        layer_norm: bool = False,
        density: float = 1.0,
        initialiser: AbstractInitialiser = _LECUN_UNIFORM,
        actor_head: AbstractInitialiser | None = None,
        critic_head: AbstractInitialiser | None = None,
        initial_log_std: float = 0.0,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_size`: length of an observation.
        - `out_size`: length of an action, or the number of discrete actions.
        - `discrete`: use a categorical policy (softmax) instead of a normal distribution.
        - `width`, `depth`, `activation`, `layer_norm`, `density`, `initialiser`: options of both
          networks, as in `MLP`.
        - `actor_head`, `critic_head`: initialisers of the last layers, by default `initialiser`.
          `Orthogonal(scale=0.01)` and `Orthogonal(scale=1.0)` are common.
        - `initial_log_std`: the initial logarithm of the standard deviation.

        **Raises:** `ValueError` as `MLP`, and if `initial_log_std` is not finite.
        """
        check_above("initial_log_std", initial_log_std, -jnp.inf)
        actor_key, critic_key, head_key, value_key = jax.random.split(key, 4)

        def trunk(outputs: int, key: PRNGKeyArray) -> MLP:
            return MLP(
                in_size,
                outputs,
                width=width,
                depth=depth,
                activation=activation,
                layer_norm=layer_norm,
                density=density,
                initialiser=initialiser,
                key=key,
            )

        self.actor_head = initialiser if actor_head is None else actor_head
        self.critic_head = initialiser if critic_head is None else critic_head
        self.actor = _with_head(trunk(out_size, actor_key), self.actor_head, key=head_key)
        self.critic = _with_head(trunk(1, critic_key), self.critic_head, key=value_key)
        self.initial_log_std = float(initial_log_std)
        self.log_std = None if discrete else jnp.full(out_size, self.initial_log_std)

    def __call__(
        self, x: Float[Array, " in_size"], /, *, key: PRNGKeyArray | None = None
    ) -> tuple[PolicyAndValue, dict[str, Float[Array, " activations"]]]:
        activations = [*self.actor.activations, *self.critic.activations]
        keys = one_key_each(activations, key)
        decision, actor_taps = self.actor(x, key=keys[0])
        value, critic_taps = self.critic(x, key=keys[1])
        if self.log_std is None:
            policy = CategoricalPolicy(decision)
        else:
            policy = GaussianPolicy(decision, self.log_std)
        taps = {f"actor_{name}": tap for name, tap in actor_taps.items()}
        taps |= {f"critic_{name}": tap for name, tap in critic_taps.items()}
        return PolicyAndValue(policy, value[0]), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """One group per hidden layer of either network, named as in the taps."""
        return (
            *(within(g, lambda m: m.actor, prefix="actor_") for g in self.actor.units()),
            *(within(g, lambda m: m.critic, prefix="critic_") for g in self.critic.units()),
        )

    def fresh(self, *, key: PRNGKeyArray) -> "ActorCritic":
        """Returns newly initialised networks of the same shapes, with the initial standard
        deviation."""
        actor_key, critic_key, head_key, value_key = jax.random.split(key, 4)
        actor = _with_head(self.actor.fresh(key=actor_key), self.actor_head, key=head_key)
        critic = _with_head(self.critic.fresh(key=critic_key), self.critic_head, key=value_key)
        model = eqx.tree_at(lambda m: (m.actor, m.critic), self, (actor, critic))
        if self.log_std is None:
            return model
        log_std = jnp.full_like(self.log_std, self.initial_log_std)
        return eqx.tree_at(lambda m: m.log_std, model, log_std)


def _with_head(network: MLP, initialiser: AbstractInitialiser, *, key: PRNGKeyArray) -> MLP:
    drawn = initialiser(key, network.layers[-1].weight.shape)
    last = lambda m: (m.layers[-1].weight, m.layers[-1].bias)
    return eqx.tree_at(last, network, drawn)
