"""Labelled data, and the streams made of them."""
