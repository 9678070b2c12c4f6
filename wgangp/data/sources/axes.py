"""What the axes of an array mean: given by dataset.axes, or read from a shape that has one reading only."""

from wgangp.units import is_axes

READINGS = {
    1: {"n": "numbers"},
    2: {"nd": "vectors", "nt": "signals"},
    3: {"nct": "signals", "ntc": "signals", "nhw": "fields"},
    4: {"nchw": "fields", "nhwc": "fields", "ndhw": "volumes"},
    5: {"ncdhw": "volumes", "ndhwc": "volumes"},
}
CLIPS = {4: {"nthw": "clips"}, 5: {"ncthw": "clips", "nthwc": "clips"}}  # which are of whole bytes, as pictures
FEW = 16  # channels of which an axis is taken for them


def axes_of(where: str, shape: tuple[int, ...], given: str | None, may_be_clips: bool = False) -> str:
    """Returns the axes of an array of this shape, such as nchw; `where` names its file in messages.

    Raises ValueError if the given ones do not fit, or none are given and the shape has several readings.
    """
    if given is not None:
        if not is_axes(given) or len(given) != len(shape):
            raise ValueError(
                f"dataset.axes={given}: {where} has {len(shape)} axes, of shape {shape}: choose from "
                f"{', '.join(READINGS.get(len(shape), ['arrays of 1 to 5 axes']))}"
            )
        return given
    if len(shape) not in READINGS:
        raise ValueError(f"{where} has {len(shape)} axes, of shape {shape}: give an array of 1 to 5 axes")
    readings = READINGS[len(shape)] | (CLIPS.get(len(shape), {}) if may_be_clips else {})
    plain = None if may_be_clips and len(shape) == 5 else _plain(shape)
    if plain is None:
        choices = [f"{axes} ({said(kind, shape, axes)})" for axes, kind in readings.items()]
        raise ValueError(
            f"{where} of shape {shape} has several readings: set dataset.axes to {', '.join(choices[:-1])} or "
            f"{choices[-1]}"
        )
    return plain


def _plain(shape: tuple[int, ...]) -> str | None:
    """Returns the only likely axes. An axis is that of channels if it is short, and half of every other at most."""
    if len(shape) < 3:
        return next(iter(READINGS[len(shape)]))
    first, last = (
        size == 1 or (size <= FEW and 2 * size <= min(rest))
        for size, rest in ((shape[1], shape[2:]), (shape[-1], shape[1:-1]))
    )
    if first == last or (len(shape) == 3 and 1 not in (shape[1], shape[2])):
        return None
    channels_first, channels_last = list(READINGS[len(shape)])[:2]
    return channels_first if first else channels_last


def said(kind: str, shape: tuple[int, ...], axes: str) -> str:
    """Returns a reading in words, such as 100 fields of 48x80 with 3 channels."""
    size = dict(zip(axes, shape, strict=True))
    spatial = "x".join(str(size[a]) for a in axes if a not in "nc")
    if kind == "clips":
        spatial = f"{size['t']} frames of {size['h']}x{size['w']}"
    channels = f" with {size['c']} channels" if "c" in size else ""
    return f"{size['n']} {kind} of {spatial}{channels}"
