"""What the commands and the daemon do, without a terminal: one file per operation."""
