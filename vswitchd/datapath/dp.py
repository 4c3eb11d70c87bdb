"""The datapath as Python sees it: the only module that imports the compiled extension."""

from __future__ import annotations

from vswitchd import _core

ffi = _core.ffi
lib = _core.lib
