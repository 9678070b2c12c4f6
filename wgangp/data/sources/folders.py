"""Image files below a folder or in a zip file."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from wgangp.data.files import Encoded, Files, decode
from wgangp.data.labels import listed
from wgangp.data.sources.layout import read_layout
from wgangp.data.sources.source import Part, Parts, Source, source_function
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

PHOTOGRAPHS = {".heic", ".heif", ".jxl", ".cr2", ".nef", ".arw", ".dng"}  # that PIL does not read
LONGEST_TITLE = 100  # bytes; file systems take names of 255


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    """The options of sources that decode image files (conf/dataset/common/files.yaml)."""

    levels: float | None
    cache: str | None
    verify: bool

    brighten: ClassVar[str] = "set dataset.levels to the pixel value of white, as in dataset.levels=4095 for 12 bits"

    def part(
        self, files: Encoded, names: Sequence[str], labels: Tensor, beside: Path, title: str, notes: Sequence[str] = ()
    ) -> Part:
        """Returns the part of these files, cached in the folder `beside` or in dataset.cache, in a file named by title.

        The notes are logged after the images are decoded: an error before has a line for itself.
        """

        def load(positions: Tensor) -> tuple[Tensor, Tensor]:
            few = positions if len(positions) < len(names) else None
            images, kept = decode(
                files,
                [names[i] for i in positions.tolist()],
                size=self.size,
                channels=self.channels,
                levels=self.levels,
                cache=self._cache_file(files.path, beside, title, few),
                verify=self.verify,
            )
            for note in notes:
                log.warning(note)
            return images, positions[kept]

        return Part(labels, load)

    def _cache_file(self, source: Path, beside: Path, title: str, positions: Tensor | None) -> Path:
        """Returns the path of the cache. Images that are only a part of the files have a cache of their own."""
        title = (
            title if len(title.encode(errors="replace")) <= LONGEST_TITLE else _short(title.encode(errors="replace"))
        )
        if positions is not None:
            title += f"_{_short(positions.numpy().tobytes())}"
        name = f"{title}_{self.size}x{self.size}x{self.channels}.cache"
        if self.cache is None:
            return beside / f".{name}"
        return local_path(self.cache) / f"{_short(str(source.absolute()).encode(errors='replace'))}_{name}"


def _short(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=6).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ImageFolder(FileSource):
    """The images below a folder or in a zip file, of any size.

    Folders called train, val and test are parts; other sub-folders are classes (see `read_layout`).
    """

    path: str

    def read(self) -> Parts:
        path = local_path(self.path)
        if not path.exists():
            raise FileNotFoundError(f"dataset.path={self.path}: there is no such folder or zip file")
        files = Files(path)
        passed_over = _passed_over(files)
        if not files.names:
            raise ValueError(
                f"dataset.path={self.path} has no images (looked for .jpg, .png and others, also in sub-folders)"
                + "".join(f": {note}" for note in passed_over)
            )
        layout = read_layout(files.names)
        beside, title = path if path.is_dir() else path.parent, path.stem
        train_title = f"{title}_train" if layout.held_out else title
        train = self.part(files, layout.train, layout.labels, beside, train_title, passed_over + layout.notes)
        if not layout.held_out:
            return train, None, layout.class_names
        held_out = self.part(files, layout.held_out, layout.held_out_labels, beside, f"{title}_held_out")
        return train, held_out, layout.class_names


def _passed_over(files: Files) -> list[str]:
    """Returns a note on the files that are no images; [] if there are none."""
    kinds = [f"{ending} ({count:,})" for ending, count in files.passed_over.most_common()]
    advice = "; convert photographs to .jpg or .png" if PHOTOGRAPHS & files.passed_over.keys() else ""
    return [shown(f"passed over, since they are no images: {listed(kinds)}{advice}")] if kinds else []


image_folder = source_function(ImageFolder)
