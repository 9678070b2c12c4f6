"""Pictures of samples, as arrays (h, w, 3) uint8: `draw` makes one of any kind of samples, `film` a film of several."""

from wgangp.pictures.film import film
from wgangp.pictures.pairs import pairs
from wgangp.pictures.plots import draw

__all__ = ["draw", "film", "pairs"]
