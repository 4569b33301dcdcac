"""Distributions over actions, as the outputs of a network."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class AbstractPolicy(eqx.Module):
    """A distribution over actions, for a single example or for each example of a batch.

    Its fields are floating-point arrays `[..., actions]`; every method acts on the last axis. The
    Fisher information F with respect to the fields, for each example, is needed for curvature.
    """

    @abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> Array:
        """Draws one action for each example."""

    @abstractmethod
    def mode(self) -> Array:
        """Returns the action with the highest probability (density)."""

    @abstractmethod
    def log_probability(self, action: Array) -> Float[Array, "*batch"]:
        """Returns the logarithm of the probability (density), in nats."""

    @abstractmethod
    def entropy(self) -> Float[Array, "*batch"]:
        """Returns the (differential) entropy, in nats."""

    @abstractmethod
    def fisher_product(self, tangent: Any) -> Any:
        """Returns F times `tangent`, which has the structure of this policy."""

    @abstractmethod
    def fisher_root(self) -> Any:
        """Returns the columns of a matrix S with S S^T = F, as a policy with a leading axis."""

    @abstractmethod
    def sampled_score(self, *, key: PRNGKeyArray) -> Any:
        """Draws actions a and returns the gradient of -log p(a) with respect to the fields. It has
        mean 0 and covariance F."""


class GaussianPolicy(AbstractPolicy):
    """An independent normal distribution for each component of the action.

    ```python
    policy = GaussianPolicy(jnp.zeros(2), jnp.zeros(2))
    policy.log_probability(policy.sample(key=jax.random.key(0)))
    ```
    """

    mean: Float[Array, "*batch actions"]
    log_std: Float[Array, "*batch actions"]

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*batch actions"]:
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_std) * noise

    def mode(self) -> Float[Array, "*batch actions"]:
        return self.mean

    def log_probability(self, action: Float[Array, "*batch actions"]) -> Float[Array, "*batch"]:
        scaled = (action - self.mean) * jnp.exp(-self.log_std)
        return jnp.sum(-0.5 * scaled**2 - self.log_std - 0.5 * jnp.log(2 * jnp.pi), axis=-1)

    def entropy(self) -> Float[Array, "*batch"]:
        return jnp.sum(self.log_std + 0.5 * (1 + jnp.log(2 * jnp.pi)), axis=-1)

    def fisher_product(self, tangent: "GaussianPolicy") -> "GaussianPolicy":
        return GaussianPolicy(jnp.exp(-2 * self.log_std) * tangent.mean, 2 * tangent.log_std)

    def fisher_root(self) -> "GaussianPolicy":
        def columns(entries: Array) -> Array:
            eye = jnp.eye(entries.shape[-1], dtype=entries.dtype)
            return eye.reshape(-1, *[1] * (entries.ndim - 1), entries.shape[-1]) * entries[None]

        mean = columns(jnp.exp(-self.log_std))
        log_std = columns(jnp.full_like(self.log_std, 2**0.5))
        zeros = jnp.zeros_like(mean)
        return GaussianPolicy(jnp.concatenate([mean, zeros]), jnp.concatenate([zeros, log_std]))

    def sampled_score(self, *, key: PRNGKeyArray) -> "GaussianPolicy":
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return GaussianPolicy(-noise * jnp.exp(-self.log_std), 1 - noise**2)


class CategoricalPolicy(AbstractPolicy):
    """A distribution over discrete actions with probabilities softmax(`logits`)."""

    logits: Float[Array, "*batch actions"]

    def sample(self, *, key: PRNGKeyArray) -> Int[Array, "*batch"]:
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Int[Array, "*batch"]:
        return jnp.argmax(self.logits, axis=-1)

    def log_probability(self, action: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        log_p = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_p, action[..., None], axis=-1)[..., 0]

    def entropy(self) -> Float[Array, "*batch"]:
        log_p = jax.nn.log_softmax(self.logits)
        # For a probability of zero, 0 log 0 = 0.
        return -jnp.sum(jnp.exp(log_p) * jnp.where(log_p == -jnp.inf, 0, log_p), axis=-1)

    def fisher_product(self, tangent: "CategoricalPolicy") -> "CategoricalPolicy":
        p = jax.nn.softmax(self.logits)
        # Relative to the tangent of the most likely action, no digits are lost where its
        # probability rounds to 1.
        likeliest = jnp.argmax(self.logits, axis=-1, keepdims=True)
        t = tangent.logits - jnp.take_along_axis(tangent.logits, likeliest, axis=-1)
        return CategoricalPolicy(p * (t - jnp.sum(p * t, axis=-1, keepdims=True)))

    def fisher_root(self) -> "CategoricalPolicy":
        # diag(p) - p p^T = S S^T with the columns sqrt(p_k) (e_k - p).
        p = jax.nn.softmax(self.logits)
        eye = jnp.eye(p.shape[-1], dtype=p.dtype)
        eye = eye.reshape(-1, *[1] * (p.ndim - 1), p.shape[-1])
        return CategoricalPolicy(jnp.moveaxis(jnp.sqrt(p), -1, 0)[..., None] * (eye - p[None]))

    def sampled_score(self, *, key: PRNGKeyArray) -> "CategoricalPolicy":
        action = self.sample(key=key)
        drawn = jax.nn.one_hot(action, self.logits.shape[-1], dtype=bool)
        p = jax.nn.softmax(self.logits)
        # p - 1 of the drawn action, as the sum of the others.
        others = jnp.sum(jnp.where(drawn, 0, p), axis=-1, keepdims=True)
        return CategoricalPolicy(jnp.where(drawn, -others, p))


class PolicyAndValue(eqx.Module):
    """The outputs of an actor and a critic, for a batch of observations or for a single one."""

    policy: AbstractPolicy
    value: Float[Array, "*batch"]
