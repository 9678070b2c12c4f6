"""Lines of text as one-hot strings, and back."""

import gzip

import pytest
import torch

from wgangp.data.text import PAD, UNKNOWN, VOCABULARY, Text, text

CPU = torch.device("cpu")
LINES = [f"{'abc'[i % 3]}{i:02d}" for i in range(30)]


def make(lines=LINES, held_out=5, length=4, seed=0):
    return Text(lines, held_out, length, seed, CPU)


def test_every_line_once_an_epoch_and_none_that_is_held_out():
    data = make()
    epoch = [line for i in range(5) for line in data.to_metric_input(data.batch(i, 5)[0])]
    held_out = data.to_metric_input(data.held_out(0, 5)[0])
    assert sorted(line.rstrip(PAD) for line in epoch + held_out) == sorted(LINES)
    assert make(seed=1).to_metric_input(make(seed=1).held_out(0, 5)[0]) == held_out  # the same for every seed
    assert data.to_metric_input(data.held_out(1, 5)[0]) == held_out and len(data) == 25
    assert data.to_metric_input(make(seed=1).batch(0, 5)[0]) != epoch[:5]


def test_strings_are_one_hot_cut_and_padded():
    data = make(["abcdef", "ab", "zz"], held_out=1)
    x, y = data.batch(0, 2)
    assert x.shape == (2, *data.shape) and x.dtype == torch.float32 and not y.any()
    assert torch.equal(x.sum(1), torch.ones(2, 4)) and x.max() == 1
    both = data.to_metric_input(torch.cat([x, data.held_out(0, 1)[0]]))
    assert sorted(both) == ["ab" + 2 * PAD, "abcd", "zz" + 2 * PAD]


def test_the_vocabulary_is_what_is_commonest_and_what_is_rare_is_unknown():
    common = "".join(chr(0x4E00 + i) for i in range(3000))
    data = make([common[:2500], "ab" * 20, "a", "b"], held_out=1, length=3000)
    assert len(data.vocabulary) == data.shape[0] == VOCABULARY
    assert data.vocabulary.startswith(UNKNOWN + PAD + "ab") and common[2400] not in data.vocabulary
    assert any(
        UNKNOWN in line for line in data.to_metric_input(torch.cat([data.batch(0, 3)[0], data.held_out(0, 1)[0]]))
    )


def test_files_plain_and_gzipped(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two \nthree\n", encoding="utf-8")
    with gzip.open(tmp_path / "a.txt.gz", "wt", encoding="utf-8") as file:
        file.write("one\ntwo\nthree")
    plain, zipped = (
        text(path=str(tmp_path / name), length=5, held_out=1, seed=0, device=CPU) for name in ("a.txt", "a.txt.gz")
    )
    assert len(plain) == 2 and torch.equal(plain.train, zipped.train)


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("one\ntwo\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    for name, held_out, message in (
        ("absent.txt", 1, "no such file"),
        ("short.txt", 2, "has 2 lines: give a whole number from 1 to 1, or a share"),
        ("short.txt", 0, "held_out=0: .* give a whole number from 1 to 1"),
        ("binary.txt", 1, "no sound UTF-8"),
        ("broken.gz", 1, "no sound UTF-8"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            text(path=str(tmp_path / name), length=5, held_out=held_out, seed=0, device=CPU)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"batch_size=26 is larger than the dataset \(25 lines\)"):
        make().batch(0, 26)


def test_characters_beyond_the_vocabulary_are_counted(tmp_path, caplog):
    lines = "\n".join(chr(0x4E00 + i) * 2 for i in range(3000))
    (tmp_path / "x.txt").write_text(lines, encoding="utf-8")
    text(path=str(tmp_path / "x.txt"), length=2, held_out=10, seed=0, device=torch.device("cpu"))
    assert "the 954 rarest characters, 32 % of the text, are read as" in caplog.text


@pytest.mark.parametrize(("held_out", "n"), [(3, 3), (0.2, 2)])
def test_lines_are_held_out_by_number_or_share(tmp_path, held_out, n):
    (tmp_path / "x.txt").write_text("".join(f"line {i}\n" for i in range(10)))
    data = text(path=str(tmp_path / "x.txt"), length=8, held_out=held_out, seed=0, device=torch.device("cpu"))
    assert len(data) == 10 - n and len(data.held_out_rows) == n
    with pytest.raises(ValueError, match=r"10 lines: give a whole number from 1 to 9, or a share, such as 0\.1"):
        text(path=str(tmp_path / "x.txt"), length=8, held_out=1.5, seed=0, device=torch.device("cpu"))
