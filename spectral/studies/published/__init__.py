"""The experiments of the paper and of Dohare et al., and YAML files that name them."""
