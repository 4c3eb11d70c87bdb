# The compiled extension. Its types are checked by cffi at the call, so here it is Any; datapath/core.py alone imports it.
from typing import Any

ffi: Any
lib: Any
