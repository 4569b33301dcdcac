"""The experiments of the papers, and experiments read from YAML."""
