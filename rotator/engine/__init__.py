"""The rotation engine. Imports no third-party library and knows outside systems by their ports only."""
