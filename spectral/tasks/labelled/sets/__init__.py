"""Labelled images: the data type, and how sets are read, prepared and cached."""
