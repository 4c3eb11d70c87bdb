"""vswitchd package; see its README."""
