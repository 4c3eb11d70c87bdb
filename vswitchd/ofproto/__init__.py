"""ofproto package; see its README."""
