"""Labelled data and the task streams made from them."""
