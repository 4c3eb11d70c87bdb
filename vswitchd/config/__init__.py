"""config package; see its README."""
