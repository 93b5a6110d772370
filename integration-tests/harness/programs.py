"""The built programs as files of a release have them."""
import pathlib
import subprocess

from .checker import tactusctl
from .paths import tactus_binary


def stripped(folder):
    """Copies of the server and of tactusctl without symbols, which are most of an unoptimised program."""
    copies = []
    for program in (tactus_binary(), tactusctl()):
        copies.append(folder / pathlib.Path(program).name)
        subprocess.run(["strip", "-o", copies[-1], program], check=True, timeout=120)
    return copies
