"""The error of a stream without tasks that the run will not see."""


class NoFreshTaskError(TypeError):
    """Raised by `AbstractTaskStream.fresh_task`, with the reason, if there is no task that the run
    will not see. Probes that need fresh tasks then record NaN, and show the reason."""
