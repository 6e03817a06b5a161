"""A local Lettermint that keeps the documented rules strictly, with knobs for faults."""
