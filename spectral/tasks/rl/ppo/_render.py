"""An episode as a web page."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count
from ...._types import Learner
from ..environments._brax import Brax
from ..environments._time_limit import TimeLimit
from ._actor import Actor
from ._ppo import PPO


def render_episode(
    stream: PPO,
    learner: Learner,
    *,
    parameter: float | Float[Array, ""],
    steps: int = 500,
    key: PRNGKeyArray,
) -> str:
    """Returns an HTML page that shows one episode of the policy of `learner` on a brax body.

    ```
    page = render_episode(stream, learner, parameter=0.1, key=jax.random.key(0))
    pathlib.Path("ant.html").write_text(page)
    ```

    The page loads brax's viewer from the internet when it is opened.

    **Arguments:**

    - `parameter`: the value of the physical parameter that changes, such as the friction.
    - `steps`: the largest number of steps shown. The episode may end earlier, also by its time
        limit.

    **Raises:** `ValueError` for a parameter that is not positive, an environment that is not a
    `Brax`, or a stream that normalises observations, because a learner does not contain their
    statistics.
    """
    check_count("steps", steps)
    check_above("parameter", parameter, 0)
    body = stream.world.environment
    while isinstance(body, TimeLimit):
        steps, body = min(steps, body.steps), body.environment
    if not isinstance(body, Brax):
        raise ValueError(
            f"`stream` has an environment of type {type(body).__name__}, but only `Brax` can be "
            "shown: pass a stream on a brax body, such as `SlipperyAnt()`."
        )
    if stream.normalise_observations:
        raise ValueError(
            "`stream` has `normalise_observations`, but a learner does not contain the statistics "
            "of the observations: train without it, or standardise the observations yourself."
        )
    value = jnp.asarray(parameter, dtype=float)
    act = Actor(learner, body, None, greedy=True)

    @jax.jit
    def played(key):
        def move(carry, step_key):
            state, observation = carry
            action = act(observation[None], step_key)[0]
            action = jnp.clip(action, -1, 1) if stream.clip_actions else action
            after, step = body.step(state, action, value, key=step_key)
            return (after, step.observation), (state.pipeline_state.x, step.terminated)

        reset_key, move_key = jax.random.split(key)
        first = body.reset(value, key=reset_key)
        return jax.lax.scan(move, first, jax.random.split(move_key, steps))[1]

    positions, ended = jax.tree.map(np.asarray, played(key))
    length = int(np.argmax(ended)) + 1 if ended.any() else steps
    return body.page([jax.tree.map(lambda x, t=t: x[t], positions) for t in range(length)])
