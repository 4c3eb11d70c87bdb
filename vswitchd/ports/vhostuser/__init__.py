"""vhostuser package; see its README."""
