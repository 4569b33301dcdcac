"""Labelled images: what a set is, and where images are read, prepared and cached."""
