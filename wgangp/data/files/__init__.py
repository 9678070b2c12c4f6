"""Encoded image files, in a folder tree or a zip file, as one uint8 tensor."""

from wgangp.data.files.decoding import decode
from wgangp.data.files.listing import Encoded, Files
from wgangp.data.files.zips import open_zip

__all__ = ["Encoded", "Files", "decode", "open_zip"]
