"""A stand-in world for the demo and the tests: Meta and the Tenant Service are simulated, the rest is real."""
