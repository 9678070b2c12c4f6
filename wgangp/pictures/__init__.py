"""Pictures of samples, as arrays (h, w, 3) uint8: `draw` makes one of any kind of samples, `encoded` a film of several.

`moving` gives the frames of a film of clips, `pairs` one of condition pictures and their samples.
"""

from wgangp.pictures.clips import moving
from wgangp.pictures.film import FPS, encoded
from wgangp.pictures.pairs import pairs
from wgangp.pictures.plots import draw

__all__ = ["FPS", "draw", "encoded", "moving", "pairs"]
