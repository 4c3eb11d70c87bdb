"""datapath package; see its README."""
