"""What deploy/vs-bind is made of. It runs where nothing is installed: the standard library alone, and little of it.

Neither dataclasses, pathlib, argparse, re nor typing are imported: each of them costs more than the work itself,
and in an emulated guest a second. Nothing of the switch is imported either.
"""
