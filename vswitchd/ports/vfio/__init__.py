"""vfio package; see its README."""
