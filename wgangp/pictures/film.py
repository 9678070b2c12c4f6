"""Pictures one after another."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

FILM_FORMATS = ("gif", "webp", "mp4")
FPS = 10  # frames a second of a clip: GIFs count in hundredths of a second


def encoded(frames: Sequence[np.ndarray], kind: str, fps: int) -> bytes:
    """Returns the file of a film of frames (h, w, 3) uint8, of kind gif, webp or mp4, which repeats where it can.

    Raises ValueError if there are no frames, if their sizes differ, for another kind, and for mp4 without PyAV.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError("a film needs frames of one size, and at least one")
    if kind not in FILM_FORMATS:
        raise ValueError(f"a film is a .gif, .webp or .mp4 file, not {f'.{kind}' if kind else 'one without an ending'}")
    file = io.BytesIO()
    if kind == "mp4":
        _mp4(frames, file, fps)
    else:
        first, *rest = (Image.fromarray(frame) for frame in frames)
        duration = round(1000 / fps)  # milliseconds
        first.save(file, kind, save_all=True, append_images=rest, duration=duration, loop=0, lossless=True)
    return file.getvalue()


def _mp4(frames: Sequence[np.ndarray], target: io.BytesIO, fps: int) -> None:
    """H.264, whose pictures have even sides: an odd one gets another row or column of its last pixels."""
    try:
        import av
    except ImportError as error:
        raise ValueError("writing .mp4 needs PyAV: `pip install av`, or choose .webp") from error
    h, w, _ = frames[0].shape
    with av.open(target, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "16"})
        stream.height, stream.width, stream.pix_fmt = h + h % 2, w + w % 2, "yuv420p"
        for frame in frames:
            even = np.pad(frame, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
            file.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        file.mux(stream.encode())
