"""Labelled data: the types, and how sets are read, prepared, checked and cached."""
