"""Transformers: decoders of tokens and encoders of images."""
