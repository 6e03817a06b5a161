"""The HTTP port of `serve`: probes, metrics, a small API and a status page (design 3.4)."""
