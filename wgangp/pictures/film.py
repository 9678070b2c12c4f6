"""Pictures one after another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def film(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """Writes frames (h, w, 3) uint8 of one size as .gif, .webp or .mp4, which repeats without end where it can.

    Raises ValueError if there are no frames, if their sizes differ, for another file type, and for .mp4 without PyAV.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"{path}: a film needs frames of one size, and at least one")
    match path.suffix.lower():
        case ".gif" | ".webp":
            first, *rest = (Image.fromarray(frame) for frame in frames)
            duration = round(1000 / fps)  # milliseconds
            first.save(path, save_all=True, append_images=rest, duration=duration, loop=0, lossless=True)
        case ".mp4":
            _mp4(frames, path, fps)
        case kind:
            raise ValueError(f"{path}: a film is a .gif, .webp or .mp4 file, not {kind or 'one without an ending'}")


def _mp4(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """H.264, whose pictures have even sides: an odd one gets another row or column of its last pixels."""
    try:
        import av
    except ImportError as error:
        raise ValueError(f"{path}: writing .mp4 needs PyAV: `pip install av`, or choose .webp") from error
    h, w, _ = frames[0].shape
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "16"})
        stream.height, stream.width, stream.pix_fmt = h + h % 2, w + w % 2, "yuv420p"
        for frame in frames:
            even = np.pad(frame, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
            file.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        file.mux(stream.encode())
