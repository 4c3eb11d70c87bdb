"""What the build thinks must be compiled again: dependency files as the compiler really writes them."""

import os
import subprocess

import pytest

from vswitchd.datapath.build import prerequisites


@pytest.mark.parametrize("folder", ["plain", "two words", "a$b", "a#b", "a:b"])
def test_every_prerequisite_that_the_compiler_names_is_found(tmp_path, folder):
    where = tmp_path / folder
    where.mkdir()
    (where / "a header.h").write_text("int vs_x;\n")
    (where / "x.c").write_text('#include "a header.h"\n')
    rule = where / "x.d"
    command = [*os.environ.get("CC", "cc").split(), "-MMD", "-MT", "object", "-MF", str(rule)]
    subprocess.run([*command, "-c", str(where / "x.c"), "-o", str(where / "x.o")], check=True)
    assert prerequisites(rule.read_text()) == [str(where / "x.c"), str(where / "a header.h")]
