"""The protocol of a probe, and the examples that probes measure on."""
