"""Changes of a copy of the network whose effect is measured."""
