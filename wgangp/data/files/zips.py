"""Zip files of strangers: opened only if they are sound and honest about their size."""

import re
import zipfile
from pathlib import Path

from wgangp.machine.text import shown

EXPANSION, SMALL = 1000, 2**26  # a member may unpack to so many times its packed size, or to so many bytes


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip file. Raises ValueError if it is damaged, or a member is encrypted, unsafe or a zip bomb."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises BadZipFile, NotImplementedError, struct.error ...
        raise ValueError(
            f"{shown(path)} is no folder and no sound zip file ({shown(error)}): give one of the two"
        ) from error
    packed = path.stat().st_size
    for member in archive.infolist():
        if fault := _fault(member, packed):
            raise ValueError(f"{shown(path)} is refused, for its member {shown(member.filename)} {fault}")
    return archive


def _fault(member: zipfile.ZipInfo, packed: int) -> str | None:
    """Returns why a member of a zip file of `packed` bytes must not be read; None if it may."""
    parts = re.split(r"[/\\]", member.filename)
    if parts[0] == "" or ".." in parts:
        return "has a name that leads out of the archive: pack it again with relative names"
    if member.flag_bits & 1:
        return "is encrypted: pack it again without a password"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by another method than deflate: pack it again"  # zipfile reads the others without a limit
    if member.file_size > max(SMALL, EXPANSION * min(member.compress_size, packed)):
        return f"claims to be {member.file_size:,} bytes, over {EXPANSION} times its packed size: remove it"
    return None
