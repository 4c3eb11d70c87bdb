"""ports package; see its README."""
