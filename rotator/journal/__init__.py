"""The durable record of rotations, leases and limits: the port in `base`, one file per database."""
