"""An episode to look at."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count
from ...._types import Learner
from ....models import apply_network
from ..environments._brax import Brax
from ..environments._time_limit import TimeLimit
from ._ppo import PPO


def render_episode(
    stream: PPO,
    learner: Learner,
    *,
    parameter: float | Float[Array, ""],
    steps: int = 500,
    key: PRNGKeyArray,
) -> str:
    """A page of HTML that shows one episode of the policy of `learner`, on a body of brax.

    ```
    page = render_episode(stream, learner, parameter=0.1, key=jax.random.key(0))
    pathlib.Path("ant.html").write_text(page)
    ```

    The page loads brax's viewer from the internet when it is opened.

    **Arguments:**

    - `parameter`: the value of the physical parameter that changes, such as the friction.
    - `steps`: the most steps that are shown; the episode may end before, also by its limit of time.

    **Raises:** `ValueError` for a parameter that is not positive, an environment that is not of
    brax, or a stream that normalises observations, by statistics that the learner does not hold.
    """
    check_count("steps", steps)
    check_above("parameter", parameter, 0)
    body = stream.world.environment
    while isinstance(body, TimeLimit):
        steps, body = min(steps, body.steps), body.environment
    if not isinstance(body, Brax):
        raise ValueError(
            f"`stream` plays on {type(body).__name__}, but only bodies of brax can be shown: pass "
            "one on `Brax`, such as `SlipperyAnt()`."
        )
    if stream.normalise_observations:
        raise ValueError(
            "`stream` has `normalise_observations`, but a learner does not hold their statistics: "
            "train without, or apply the network to observations of your own."
        )
    value = jnp.asarray(parameter, dtype=float)

    @jax.jit
    def played(key):
        def move(carry, step_key):
            state, observation = carry
            outputs, _ = apply_network(
                learner.model, learner.model_state, observation[None], inference=True
            )
            action = outputs.policy.mode()[0]
            action = jnp.clip(action, -1, 1) if stream.clip_actions else action
            after, step = body.step(state, action, value, key=step_key)
            return (after, step.observation), (state.pipeline_state.x, step.terminated)

        reset_key, move_key = jax.random.split(key)
        first = body.reset(value, key=reset_key)
        return jax.lax.scan(move, first, jax.random.split(move_key, steps))[1]

    places, ended = jax.tree.map(np.asarray, played(key))
    shown = int(np.argmax(ended)) + 1 if ended.any() else steps
    return body.page([jax.tree.map(lambda x, t=t: x[t], places) for t in range(shown)])
