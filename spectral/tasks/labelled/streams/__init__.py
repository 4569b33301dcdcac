"""Streams of labelled data."""
