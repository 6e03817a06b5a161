"""`doctor`: everything that a rotation will need, tried without a reader noticing."""
