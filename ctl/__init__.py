"""ctl package; see its README."""
