"""The rows of a labelled set: how a stream visits them, and what a network sees of them."""
