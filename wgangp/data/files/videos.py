"""Video files and folders of frames to frames: mp4, webm and others by PyAV, gif and webp by Pillow."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from wgangp.data.files.listing import FORMATS
from wgangp.data.files.pixels import decode_bytes, reason_of, squared, to_8_bits
from wgangp.machine.text import shown

FILMS = {".gif", ".webp"}
VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv"}
VIDEOS |= {".3gp", ".mts", ".m2ts", ".vob", ".y4m"}
UNEVEN = 1.5  # of the shortest time between two frames: a longer one makes a frame rate variable; files round times


@dataclass(frozen=True)
class Film:
    """Frames (f, c, h, w) uint8, and the times in seconds from each to the next where they are known."""

    frames: np.ndarray
    gaps: np.ndarray

    @property
    def rate(self) -> float:
        """The usual number of frames a second; 0 if it is not known."""
        return 1 / float(np.median(self.gaps)) if len(self.gaps) and np.median(self.gaps) > 0 else 0.0

    @property
    def is_variable(self) -> bool:
        return bool(len(self.gaps) and self.gaps.max() > UNEVEN * self.gaps.min())


def decode_videos(
    videos: dict[str, list[Path]], size: int, channels: int, stacked: bool
) -> dict[str, Film | Exception]:
    """Returns the frames of each video, or why it cannot be read; the central squares, resized.

    A `stacked` video is one image.
    """

    def decoded(files: list[Path]) -> Film | Exception:
        try:
            if stacked and files[0].suffix.lower() not in FILMS | VIDEOS:
                return read_stacked(files[0], size, channels)
            return read_film(files, size, channels)
        except Exception as error:  # PyAV and PIL have one for each fault of a file
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(decoded, videos.values())
        films = tqdm(found, total=len(videos), desc="decoding", unit="video", disable=None)
        return dict(zip(videos, films, strict=True))


def read_film(files: list[Path], size: int, channels: int) -> Film:
    """Returns the frames of a video. Raises ValueError if it has none, and the errors of the decoders."""
    ending = files[0].suffix.lower()
    if ending not in FILMS | VIDEOS:
        frames = [_frame(file, size, channels) for file in files]
        return Film(np.stack(frames), np.zeros(0))
    shown_at = [
        (squared(image, size, channels), time) for image, time in (_film if ending in FILMS else _video)(files[0])
    ]
    if not shown_at:
        raise ValueError("it has no frames")
    times = [time for _, time in shown_at if time is not None]
    return Film(np.stack([frame for frame, _ in shown_at]), np.diff(times))


def _frame(file: Path, size: int, channels: int) -> np.ndarray:
    """Returns a frame that is a file, (c, size, size). Raises ValueError, naming it, if it cannot be read."""
    try:
        return decode_bytes(file.read_bytes(), file.suffix.lower(), size, channels, None)
    except Exception as error:  # PIL has one for each fault
        raise ValueError(f"{shown(file.name)}: {reason_of(error)}") from error


def read_stacked(path: Path, size: int, channels: int) -> Film:
    """Returns the square frames of an image that has them one below the other.

    Raises ValueError if its height is no multiple of its width, and the errors of PIL.
    """
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if height % width:
            raise ValueError(f"{width}x{height} pixels are no squares one below the other")
        whole = to_8_bits(image.copy(), False, None)
    squares = [whole.crop((0, top, width, top + width)) for top in range(0, height, width)]
    return Film(np.stack([squared(square, size, channels) for square in squares]), np.zeros(0))


def _film(path: Path) -> Iterator[tuple[Image.Image, float | None]]:
    """Yields the pictures of a .gif or .webp file, and the seconds at which each is shown."""
    with Image.open(path, formats=("GIF", "WEBP")) as film:
        time = 0.0
        for i in range(getattr(film, "n_frames", 1)):
            film.seek(i)
            film.load()
            yield to_8_bits(film.copy(), False, None), time
            time += film.info.get("duration", 0) / 1000


def _video(path: Path) -> Iterator[tuple[Image.Image, float | None]]:
    """Likewise of a file that FFmpeg reads, upright: telephones write how they were held."""
    import av

    with av.open(str(path)) as file:
        if not file.streams.video:
            raise ValueError("it has no video")
        for frame in file.decode(video=0):
            image = frame.to_image()
            yield image.rotate(frame.rotation, expand=True) if frame.rotation else image, frame.time


def needs_pyav(videos: dict[str, list[Path]]) -> list[str]:
    """Returns the names of the videos that cannot be decoded, since PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return [shown(name) for name, files in videos.items() if files[0].suffix.lower() in VIDEOS]
    return []
