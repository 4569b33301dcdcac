"""The outside world: experiments as YAML, the command line, run folders, summaries, figures."""

# The contents are listed in `__init__.pyi` and imported when first used: the command line can
# answer before JAX is loaded.
import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
