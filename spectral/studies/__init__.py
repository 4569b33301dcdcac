"""Everything outside the loop: YAML experiments, command line, run folders, summaries, figures."""

# The contents are listed in `__init__.pyi` and imported when first used, so that the command line
# can print its help before JAX is loaded.
import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
