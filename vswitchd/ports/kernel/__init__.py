"""kernel package; see its README."""
