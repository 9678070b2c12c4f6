"""Pictures of samples of every kind: what they show, how large they become, and which fonts and colours they use."""

import logging
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import write_film
from matplotlib.text import Text
from PIL import Image
from torchvision.utils import make_grid

from wgangp import style
from wgangp.pictures import arrays, draw, encoded, fonts, images, points, text
from wgangp.pictures.images import LIMIT, to_rgb, to_uint8
from wgangp.units import Units


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def has(picture, colour):
    """The number of pixels of a colour, "#rrggbb"."""
    return (picture == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).sum()


# Images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n, columns", [(1, None), (2, None), (8, 8), (10, 4), (64, None), (30, 10)])
def test_an_ordinary_grid_is_torchvisions_grid(n, columns, channels):
    x = noise(n, channels, 5, 7)
    nrow = columns or int(np.ceil(np.sqrt(n)))
    expected = to_uint8(make_grid(x, nrow=nrow, padding=2, pad_value=-1.0)[None])[0]
    assert np.array_equal(draw(x, columns=columns), expected)


def test_8_images_of_512_pixels_in_a_row_are_not_made_smaller():
    assert draw(torch.zeros(1, 1, 1, 1).expand(8, 1, 512, 512), columns=8).shape == (514 + 2, 8 * 514 + 2, 3)


def test_channels_that_are_no_colours_are_grey_and_side_by_side():
    x = noise(1, 5, 4, 6)
    picture = draw(x)
    assert picture.shape == (4, 30, 3)
    assert np.array_equal(picture[:, 12:18, 1], to_uint8(x)[0, :, :, 2])


def test_a_transparent_image_is_over_white():
    red = torch.tensor([1.0, -1, -1])[:, None, None].expand(3, 2, 2)
    alpha = torch.tensor([[-1.0, 1], [-1, 1]])[None]
    assert to_rgb(torch.cat([red, alpha])[None])[0, 0].tolist() == [[255, 255, 255], [255, 0, 0]]


def test_each_class_has_a_row_under_its_name():
    """The images of class 2 come first in the data and last in the picture; class 1 has none."""
    x = torch.tensor([1.0, 1, -0.5])[:, None, None, None].expand(3, 1, 28, 28)
    picture = draw(x, labels=torch.tensor([2, 2, 0]), class_names=["cat", "dog", "bird"])
    left = picture.shape[1] - 2 * 30
    assert picture.shape[0] == 2 * 30 + 2
    assert (picture[2:30, left : left + 28] == to_uint8(x)[2, 0, 0, 0]).all() and not picture[2:30, left + 30 :].any()
    assert (picture[32:60, left : left + 28] == 255).all() and (picture[32:60, left + 30 : left + 58] == 255).all()
    assert picture[2:30, : left - 2].any() and picture[32:60, : left - 2].any()  # the names


def test_names_decide_the_width_of_their_column_up_to_24_letters():
    x, labels = noise(2, 1, 16, 16), torch.tensor([0, 1])
    widths = [draw(x, labels=labels, class_names=["a" * k, "b"]).shape[1] for k in (1, 20, 24, 500)]
    assert widths[0] < widths[1] < widths[2] and widths[3] < widths[2] + 20


def test_numbers_are_in_the_corners_of_images_large_enough_to_read_them():
    x = torch.full((12, 3, 8, 8), -0.5)
    plain, numbered = draw(x), draw(x, numbers=range(12))
    assert plain.shape == (3 * 10 + 2, 4 * 10 + 2, 3) and numbered.shape == (3 * 58 + 2, 4 * 58 + 2, 3)
    for i in range(12):
        top, left = 2 + 58 * (i // 4), 2 + 58 * (i % 4)
        tile = numbered[top : top + 56, left : left + 56]
        assert (tile[:14, :18] > 200).any() and (tile[20:] == to_uint8(x)[0, 0, 0, 0]).all()


def test_numbered_pictures_have_the_same_limit(caplog):
    caplog.set_level(logging.INFO)
    x = torch.zeros(1, 1, 1, 1).expand(10_000, 1, 28, 28)
    picture = draw(x, numbers=range(10_000))
    assert LIMIT / 2 < max(picture.shape) <= LIMIT and "of 10000 images" in caplog.text


def test_clips_are_rows_of_frames_below_the_names_of_their_classes():
    clips, strip = noise(2, 3, 5, 60, 60), partial(draw, is_video=True)
    plain = strip(clips)
    assert plain.shape == (2 * 62 + 2, 5 * 62 + 2, 3)
    named = strip(clips, labels=torch.tensor([1, 0]), class_names=["jump", "run"])
    left = named.shape[1] - 5 * 62
    assert left > 20 and np.array_equal(named[2:62, left:], plain[64:124, 2:])  # class 0, the second clip, comes first
    tiles = strip(clips, numbers=[3, 17])[2:62, 2:].reshape(60, 5, 62, 3)
    assert (tiles[:14, :, :18] > 200).any(axis=(0, 2, 3)).all()  # on each frame


def test_a_title_is_above_the_grid():
    x = noise(4, 3, 60, 60)
    titled, plain = draw(x, title="step 300"), draw(x)
    assert np.array_equal(titled[-len(plain) :], plain) and (titled[: -len(plain)] > 200).any()


@pytest.mark.parametrize("labelled", [True, False])
def test_65536_images_are_cut_to_what_is_legible(labelled, caplog):
    caplog.set_level(logging.INFO)
    x = torch.zeros(1, 1, 1, 1).expand(65_536, 1, 64, 64)
    picture = draw(x, labels=torch.arange(len(x)) if labelled else None)
    assert LIMIT / 2 < max(picture.shape) <= LIMIT
    assert "of 65536 images" in caplog.text


@pytest.mark.parametrize("labelled", [True, False])
def test_large_images_are_made_smaller_and_all_are_there(labelled, caplog):
    caplog.set_level(logging.INFO)
    x = torch.zeros(1, 1, 1, 1).expand(300, 1, 256, 256)
    picture = draw(x, labels=torch.arange(len(x)) if labelled else None)
    assert LIMIT / 2 < max(picture.shape) <= LIMIT and not caplog.text


def test_images_are_made_smaller_by_averages():
    x = torch.tensor([-1.0, 1]).repeat(3000)[None, None, None].expand(1, 1, 2, 6000)  # black and white columns
    line = draw(x)[images.GAP, images.GAP : -images.GAP]
    assert len(line) > LIMIT - 10 and np.isin(line, [0, 255]).mean() < 0.9


def test_a_thousand_classes_are_in_several_columns():
    height, width, _ = draw(torch.zeros(1, 1, 1, 1).expand(1000, 1, 32, 32), labels=torch.arange(1000)).shape
    assert 0.5 < height / width < 2


# Points, vectors and signals


def modes(n=500):
    return torch.randint(-1, 2, (n, 2)) + 0.01 * noise(n, 2)


def test_frames_of_a_film_have_the_same_places_axes_and_colours():
    """Same points, a critic of a little more scale and another constant: only the level sets may differ."""
    real, fake = modes(), noise(300, 2)
    a = draw(fake, real=real, critic=lambda x: 1.25 * x[:, :1] + 5, title="step 100")
    b = draw(fake, real=real, critic=lambda x: 1.4 * x[:, :1] - 70, title="step 100")
    assert a.shape == b.shape == (660, 700, 3)
    outside = np.ones(a.shape[:2], bool)
    outside[76:594, 65:583] = False  # the axes
    assert np.array_equal(a[outside], b[outside])
    assert (a[76:594, 65:583] != b[76:594, 65:583]).any()


def test_the_legend_hides_no_point():
    """Points everywhere in the axes look the same with and without a legend beside them."""
    everywhere = torch.cartesian_prod(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 40))
    picture = draw(everywhere)
    axes = picture[76:594, 65:583]
    assert np.array_equal(axes[:100] == axes[0, 0], axes[::-1][:100] == axes[0, 0])  # symmetric, up and down


def test_real_and_generated_points_differ_in_colour_and_in_print():
    picture = draw(modes() + 0.5, real=modes(), critic=lambda x: x)
    assert has(picture, style.REAL) > 100 and has(picture, style.FAKE) > 100
    luminance = [np.dot([0.299, 0.587, 0.114], [int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in
                 (style.FAKE, style.REAL, style.LEVELS[0])]  # fmt: skip
    assert luminance[0] + 50 < luminance[1] < luminance[2] - 50


def test_generated_points_that_are_not_finite_are_left_out():
    fake = torch.tensor([[0.0, 0], [torch.nan, 0], [torch.inf, 1]])
    assert has(draw(fake, real=modes()), style.FAKE)
    assert draw(fake * torch.nan, critic=lambda x: x * torch.nan).shape == (660, 700, 3)
    assert draw(torch.zeros(5, 2), critic=lambda x: x * 0).shape == (660, 700, 3)


@pytest.mark.parametrize(
    "value, expected", [(0.9, 1), (1.01, 1.5), (2.5, 3), (6.9e-5, 7e-5), (8, 10), (12, 15), (99, 100)]
)
def test_scales_are_round_numbers(value, expected):
    assert points._round_up(value) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(50, 1), (50, 3), (50, 12)])
@pytest.mark.parametrize("with_real", [False, True])
def test_vectors(shape, with_real):
    picture = draw(noise(*shape), real=noise(*shape) if with_real else None)
    assert bool(has(picture, style.REAL)) == with_real and has(picture, style.FAKE)


@pytest.mark.parametrize("shape", [(3, 50), (20, 50), (20, 2, 50)])
def test_signals(shape):
    x = noise(*shape)
    x[0] = torch.nan
    assert draw(x, real=noise(*shape), title="step 1").ndim == 3


def test_rows_of_signals_keep_their_columns():
    """Eight columns of at most eight rows: a number of a condition that is swept."""
    wide, narrow = (points.signals(noise(32, 2, 20), columns=columns) for columns in (8, 4))
    assert wide.shape[0] < narrow.shape[0] and wide.shape[1] > narrow.shape[1]


def test_numbers_far_from_zero_keep_their_differences():
    x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = x * 2**-20 + 2**20  # float32 would keep three different ones
    assert torch.equal(points.finite(far.flatten(1)), far.flatten(1))
    near, far = (arrays.fields(y).astype(int)[60:, :450] for y in (x, far))
    assert (np.abs(near - far).max(axis=2) > 30).mean() < 0.05  # but for the numbers at the axes


def test_fields_have_a_pixel_for_each_value():
    stripes = torch.arange(2.0).repeat(200, 250)[None, None]
    brightness = arrays.fields(stripes)[100].astype(int).sum(1)
    assert (np.abs(np.diff(brightness)) > 100).sum() >= 499


@pytest.mark.parametrize("x", [noise(4), noise(2, 3, 4, 5, 6), noise(0, 2), noise(0, 3, 8, 8), ["words"]])
def test_other_data_have_no_picture(x):
    with pytest.raises(ValueError, match=r"this data has no picture .*: give the dataset a picture\(\) method"):
        draw(x)


@pytest.mark.parametrize(("shape", "axes"), [((6, 1, 20), "nct"), ((6, 2, 8, 8), "nchw"), ((6, 1, 6, 8, 8), "ncdhw")])
def test_arrays_have_the_names_of_their_classes(shape, axes, monkeypatch):
    written = []
    monkeypatch.setattr(style, "pixels", lambda figure: written.extend(t.get_text() for t in figure.findobj(Text)))
    names = ["ice", "sea $x_1", "land with a very long name"]
    labels = torch.arange(3).repeat_interleave(2)
    units = Units("none", torch.zeros(3, shape[1]), axes)
    draw(noise(*shape), labels=labels, class_names=names, columns=2, units=units)
    assert {"ice", "sea $x_1"} < set(written) and any(text.startswith("land with a") for text in written)


# Text


def test_a_page_shows_the_likeliest_characters_without_the_padding_at_the_end():
    codes = torch.tensor([[2, 3, 1, 1], [2, 1, 3, 1]])
    x = torch.nn.functional.one_hot(codes, 4).transpose(1, 2).float()
    assert np.array_equal(draw(x, vocabulary="�`ab"), text.page(["ab", "a`b"]))


def test_a_page_is_cut_and_its_long_lines_go_on_below(caplog):
    caplog.set_level(logging.INFO)
    assert text.page(["a" * 121]).shape == text.page(["a" * 120, "a"]).shape
    assert max(text.page(["a" * 8000] * 200).shape) <= LIMIT
    assert "the picture shows the first 3 of 200 lines of text" in caplog.text


@pytest.fixture
def no_other_fonts(monkeypatch):
    """A computer that has matplotlib's fonts alone."""
    fonts._fallbacks.cache_clear()
    monkeypatch.setattr(fonts, "_installed", lambda: [])
    yield
    fonts._fallbacks.cache_clear()


def test_characters_that_no_font_has_are_code_points_and_logged_once(no_other_fonts, caplog):
    expected = text.page(["[U+4E2D]a[U+56FD]"])
    for step in range(3):
        pages = [text.page([line], "中国ab", title=f"step {step}") for line in ("中a国", "a")]
    assert np.array_equal(text.page(["中a国"]), expected) and pages[0].shape[1] > pages[1].shape[1]
    assert caplog.text.count("no font on this computer has 2 of the characters (U+4E2D U+56FD)") == 1


def test_a_font_of_the_computer_is_found_that_has_most_of_the_characters(no_other_fonts, monkeypatch):
    has = {"small.ttf": "中a", "large.ttf": "中国", "other.ttf": "人"}
    monkeypatch.setattr(fonts, "_installed", lambda: list(has))
    monkeypatch.setattr(fonts, "_glyphs", lambda path: frozenset(has.get(path, "abc")))
    found = fonts.fonts_for(set("a中国人龍 "), "DejaVuSans")
    assert {c: path for c, path in found.items() if c != "a"} == {
        "中": "large.ttf",
        "国": "large.ttf",
        "人": "other.ttf",
    }
    assert found["a"].endswith("DejaVuSans.ttf")


def test_matplotlibs_fonts_have_arabic_greek_and_cyrillic(caplog):
    pen = fonts.Pen("مرحبا بالعالم Ελληνικά русский", 16)
    assert pen.readable("مرحبا بالعالم") == "مرحبا بالعالم" and len(pen._runs("مرحبا بالعالم")) == 1
    assert not caplog.text


# Films


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_film_has_its_frames_and_their_duration(kind, tmp_path):
    frames = [np.full((8, 6, 3), 40 * i, np.uint8) for i in range(5)]
    write_film(frames, tmp_path / f"x.{kind}")
    opened = Image.open(tmp_path / f"x.{kind}")
    assert (opened.n_frames, opened.size, opened.info["loop"]) == (5, (6, 8), 0)
    for i, frame in enumerate(frames):
        opened.seek(i)
        opened.load()
        assert np.array_equal(np.asarray(opened.convert("RGB")), frame) and opened.info["duration"] == 100


def test_a_film_of_odd_sides_in_mp4(tmp_path):
    av = pytest.importorskip("av")
    write_film([np.full((9, 21, 3), 40 * i, np.uint8) for i in range(5)], tmp_path / "x.mp4")
    with av.open(tmp_path / "x.mp4") as file:
        found = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert [frame.shape for frame in found] == [(10, 22, 3)] * 5 and abs(int(found[3].mean()) - 120) < 8


def test_films_that_cannot_be_written(monkeypatch):
    frame = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install av"):
        encoded([frame], "mp4", 10)
    with pytest.raises(ValueError, match=r"\.gif, \.webp or \.mp4 file, not \.avi"):
        encoded([frame], "avi", 10)
    for frames in ([], [frame, frame[:2]]):
        with pytest.raises(ValueError, match="frames of one size"):
            encoded(frames, "gif", 10)


# The room


def test_matplotlib_is_imported_by_the_first_figure_alone():
    code = "import sys, wgangp.pictures; assert not {'matplotlib', 'torchvision', 'av'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_style_ends_with_its_block():
    import matplotlib

    before = matplotlib.rcParams["axes.spines.top"]
    with style.apply():
        assert not matplotlib.rcParams["axes.spines.top"]
    assert matplotlib.rcParams["axes.spines.top"] == before
    assert style.direction("fid", higher_is_better=False) == "fid (lower is better)"


@pytest.mark.filterwarnings("error")
def test_generated_numbers_outside_the_real_range_have_a_picture():
    """A density of the numbers inside would be 0 / 0."""
    assert arrays.marginals(torch.full((50, 30), 1e6), torch.rand(50, 30)).ndim == 3
