"""The protocol of a probe, and how probes draw the examples they measure on."""
