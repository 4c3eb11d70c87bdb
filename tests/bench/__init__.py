"""Benchmarks: this switch against OVS-DPDK and the bare ring-and-copy bound, in one run."""
