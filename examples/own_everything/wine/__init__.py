"""Parts of an experiment on the wine data: a stream, a network, and how it is trained and measured.

`experiment.yaml` beside this package names them, such as `wine.stream:FlippedWine`.
"""
