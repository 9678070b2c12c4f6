"""Videos below a folder: files, and folders of frames."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgangp.data.files.listing import ENDINGS, walk
from wgangp.data.files.videos import FILMS, VIDEOS, Film, decode_videos, needs_pyav
from wgangp.data.images import Images
from wgangp.data.labels import choose, listed, renumbered
from wgangp.data.sources.layout import by_numbers, in_order_of_numbers, read_layout
from wgangp.data.sources.source import Source, source_function
from wgangp.data.splits import Split, hold_out
from wgangp.data.windows import Windows
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown
from wgangp.models import check_counts

OTHER = 1.1  # times as many frames a second are another frame rate
Films = tuple[list[Film], Tensor]  # and their labels (n,)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VideoFolder(Source):
    """Every clip of `frames` frames, taken `stride` apart, of the videos below the folder `path`.

    Folders called train, val and test are parts; other sub-folders are classes (see `read_layout`). A share of the
    videos is held out, never clips of a video that is trained on. Videos that cannot be read, or are too short, are
    left out and named.
    """

    path: str
    frames: int
    stride: int
    stacked: bool

    def dataset(self) -> Images:
        self._check()
        videos = self._listed()
        layout = read_layout([*videos])
        self.check_held_out(bool(layout.held_out))
        positions, wanted = choose(layout.labels, self.classes, self.limit, layout.class_names)
        names = [layout.train[i] for i in positions.tolist()]
        films = self._decoded({name: videos[name] for name in names + layout.held_out})
        for note in layout.notes:
            log.warning(note.replace("image", "video"))
        train = kept(films, names, layout.labels[positions])
        if not len(train[1]):
            raise ValueError(f"dataset.path={self.path}: no video of the training part can be used")
        table, class_names = renumbered(train[1], wanted, layout.class_names)
        test = kept(films, layout.held_out, layout.held_out_labels)
        test = part_of(test, torch.isin(test[1], (table >= 0).nonzero().flatten()).nonzero().flatten())
        if self.held_out is not None:
            parts = hold_out(Split(torch.arange(len(train[1])), table[train[1]]), self.held_out, class_names)
            train, test = (part_of(train, part.all()) for part in parts)
        held_out = self._windows(test, table) if len(test[1]) else None
        return self.as_images(self._windows(train, table), held_out, class_names)

    def _check(self) -> None:
        """Raises ValueError if an option is out of range."""
        check_counts("dataset", size=self.size, frames=self.frames, stride=self.stride)
        if type(self.stacked) is not bool:
            raise ValueError(f"dataset.stacked={self.stacked}: choose true or false")
        if self.channels not in (1, 3):
            raise ValueError(f"dataset.channels={self.channels}: choose 1 for grey, or 3 for colours")

    def _listed(self) -> dict[str, list[Path]]:
        """Returns the files of each video. Raises FileNotFoundError or ValueError if there are none to be decoded."""
        root = local_path(self.path)
        if not root.is_dir():
            raise FileNotFoundError(f"dataset.path={self.path}: there is no such folder")
        videos, others = list_videos(root, self.stacked)
        kinds = shown(listed([f"{ending} ({count:,})" for ending, count in others.most_common()]))
        if not videos:
            raise ValueError(
                f"dataset.path={self.path} has no videos (looked for .mp4, .webm, .gif, folders of .png and others)"
                + (f"; it has {kinds}" if kinds else "")
            )
        if kinds:
            log.info("passed over files that are no videos: %s", kinds)
        if missing := needs_pyav(videos):
            raise ValueError(
                f"{listed(missing)} cannot be read without PyAV: `pip install av`, or convert to .gif, .webp or "
                "folders of .png frames"
            )
        return videos

    @property
    def span(self) -> int:
        """The frames of a video from the first to the last of a clip."""
        return (self.frames - 1) * self.stride + 1

    def _decoded(self, videos: dict[str, list[Path]]) -> dict[str, Film]:
        """Returns the videos that can be used, by name; logs the others. Raises ValueError if there are none."""
        assert self.size and self.channels  # as _check says
        found = decode_videos(videos, self.size, self.channels, self.stacked)
        damaged = [f"{shown(name)} ({shown(film)})" for name, film in found.items() if isinstance(film, Exception)]
        films = {name: film for name, film in found.items() if isinstance(film, Film)}
        short = [f"{shown(name)} ({len(f.frames)})" for name, f in films.items() if len(f.frames) < self.span]
        left_out = []
        if damaged:
            left_out.append(f"{len(damaged)} of {len(videos)} videos cannot be read: {listed(damaged)}")
        if short:
            spans = f"a clip spans {self.span} frames, and {len(short)} of {len(videos)} videos have fewer"
            left_out.append(f"{spans}: {listed(short)}")
        if len(damaged) + len(short) == len(videos):
            advice = "give a smaller dataset.frames, or other videos" if short else "give other videos"
            if all(len(film.frames) == 1 for film in films.values()):
                advice = "give other videos; of frames that are files, make .png, whose folder is then a video"
            raise ValueError(f"dataset.path={self.path}: {'; '.join(left_out)}: {advice}")
        for reason in left_out:
            log.warning("left out: %s", reason)
        films = {name: film for name, film in films.items() if len(film.frames) >= self.span}
        say_rates(films)
        return films

    def _windows(self, part: Films, table: Tensor) -> Windows:
        films, labels = part
        lengths = torch.tensor([len(film.frames) for film in films])
        counts = lengths - self.span + 1  # clips of each video
        first = (lengths.cumsum(0) - lengths).tolist()
        starts = torch.cat([a + torch.arange(n) for a, n in zip(first, counts.tolist(), strict=True)])
        frames = torch.from_numpy(np.concatenate([film.frames for film in films]))
        return Windows(frames, table[labels].repeat_interleave(counts), starts, self.frames, self.stride)


def list_videos(root: Path, stacked: bool) -> tuple[dict[str, list[Path]], Counter[str]]:
    """Returns the files of each video below a folder by its relative name, and how many other files have which ending.

    A video is one file, or the images of one folder: its frames, in the order of the numbers in their names. If images
    are `stacked`, each is a video. Images in a folder of video files are no frames: they are counted as others.
    """
    videos, others = dict[str, list[Path]](), Counter[str]()
    for name in sorted((name for name, _ in walk(str(root))), key=by_numbers):
        path, ending = root / name, os.path.splitext(name)[1].lower()
        if is_video_file(path) or (stacked and ending in ENDINGS):
            videos[name] = [path]
        elif ending in ENDINGS:
            videos.setdefault(Path(name).parent.as_posix(), []).append(path)
        else:
            others[ending or "no ending"] += 1
    of_files = {Path(name).parent.as_posix() for name, files in videos.items() if is_video_file(files[0])}
    for folder in of_files & videos.keys():
        others.update(path.suffix.lower() for path in videos.pop(folder))
    return {name: in_order_of_numbers(files) for name, files in videos.items()}, others


def is_video_file(path: Path) -> bool:
    return path.suffix.lower() in FILMS | VIDEOS


def kept(films: dict[str, Film], names: Sequence[str], labels: Tensor) -> Films:
    """Returns the videos of these names that can be used, and their labels."""
    found = [i for i, name in enumerate(names) if name in films]
    return [films[names[i]] for i in found], labels[found]


def part_of(films: Films, positions: Tensor) -> Films:
    return [films[0][i] for i in positions.tolist()], films[1][positions]


def say_rates(films: dict[str, Film]) -> None:
    """Logs frame rates that vary within a video or from video to video: the times of frames are not used."""
    if variable := [shown(name) for name, film in films.items() if film.is_variable]:
        log.warning(
            "%d of %d videos have a variable frame rate, and their frames are taken one after another: %s",
            *(len(variable), len(films), listed(variable)),
        )
    rates = [film.rate for film in films.values() if film.rate]
    if rates and max(rates) > OTHER * min(rates):
        log.warning("the videos have %.3g to %.3g frames a second, which are taken alike", min(rates), max(rates))


video_folder = source_function(VideoFolder)
