"""The built programs as files of a release have them."""
import pathlib
import shutil
import subprocess

from .checker import tactusctl
from .paths import REPOSITORY, tactus_binary


def stripped(folder):
    """Copies of the server and of tactusctl without symbols, which are most of an unoptimised program."""
    copies = []
    for program in (tactus_binary(), tactusctl()):
        copies.append(folder / pathlib.Path(program).name)
        subprocess.run(["strip", "-o", copies[-1], program], check=True, timeout=120)
    return copies


def split(folder):
    """Copies of the server and of tactusctl as `make release` leaves them: their lines in a file beside each."""
    copies = [shutil.copy2(program, folder) for program in (tactus_binary(), tactusctl())]
    subprocess.run([REPOSITORY / "scripts/split-symbols.sh", *copies], check=True, timeout=120)
    return copies
