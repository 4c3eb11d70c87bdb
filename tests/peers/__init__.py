"""Real peers that the interop tests and the benchmark start, drive and stop."""
