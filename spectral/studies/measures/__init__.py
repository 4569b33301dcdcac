"""Which numbers of a history are compared, and confidence intervals over seeds."""
