"""`rotator demo`: real rotations by real processes on this machine, with a local Lettermint."""
