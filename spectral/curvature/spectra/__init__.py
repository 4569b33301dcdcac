"""Spectra, as estimators return them, and the questions that can be asked about them."""
