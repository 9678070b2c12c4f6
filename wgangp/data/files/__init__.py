"""Encoded image files, in a folder tree or a zip file, as one uint8 tensor."""

from wgangp.data.files.decoding import decode
from wgangp.data.files.listing import Files
from wgangp.data.files.zips import open_zip, shown

__all__ = ["Files", "decode", "open_zip", "shown"]
