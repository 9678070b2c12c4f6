"""torch-fidelity's scores through our glue: equalities, closed forms, its cache, its weights."""

from functools import partial

import numpy as np
import pytest
import torch
import torch_fidelity

from wgangp.metrics import images
from wgangp.metrics.classifier import ResNet, read
from wgangp.pictures import plots

CPU = torch.device("cpu")
ALL = ["fid", "is", "kid", "prc"]


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    """The file of a random classifier; caches are in the test's folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.manual_seed(0)
    torch.save({"state_dict": ResNet(3, 4, 1).state_dict()}, tmp_path / "c.pt")
    return tmp_path / "c.pt"


def pictures(n, seed, channels=3, size=8):
    """Smooth random images (n, c, size, size) uint8."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, 3, 3, generator=generator)
    return (torch.nn.functional.interpolate(x, (size, size), mode="bilinear") * 255).to(torch.uint8)


def by_classifier(fake, real, names, file):
    extract = partial(images.extract, extractor=images.CLASSIFIER, weights=file, device=CPU)
    (features,) = extract(real, "features", cached=True)
    return images.fidelity(names, *extract(fake, "features", "logits", cached=False), features)


def test_a_dataset_is_at_no_distance_from_itself_and_its_halves_are_near(classifier):
    x = pictures(400, seed=0)
    same = by_classifier(x, x, ALL, classifier)
    halves = by_classifier(x[:200], x[200:], ALL, classifier)
    dark = by_classifier(x[:200] // 2, x[200:], ALL, classifier)
    assert abs(same["fid"]) < 1e-3 * dark["fid"] and halves["fid"] < 0.1 * dark["fid"]
    assert same["precision"] == same["recall"] == 1 and dark["precision"] < halves["precision"]
    assert abs(halves["kid"]) < dark["kid"]


def test_names_and_numbers_are_torch_fidelitys_own(classifier):
    fake, real = pictures(60, seed=1), pictures(60, seed=2)
    ours = by_classifier(fake, real, ALL, classifier)
    theirs = torch_fidelity.calculate_metrics(
        input1=images.Pixels(fake, 3),
        input2=images.Pixels(real, 3),
        feature_extractor=images.CLASSIFIER,
        feature_extractor_weights_path=classifier,
        **dict.fromkeys(("isc", "fid", "kid", "prc"), True),
        kid_subset_size=60,
        save_cpu_ram=True,
        cuda=False,
        cache=False,
        verbose=False,
    )
    assert theirs.keys() - {torch_fidelity.KEY_METRIC_F_SCORE} == images.NAMES.keys()
    for key, name in images.NAMES.items():
        assert ours[name] == pytest.approx(theirs[key], rel=1e-6, abs=1e-9), name


def test_extracted_layers_are_the_networks_own(classifier):
    x = pictures(70, seed=1)
    layers = images.extract(
        x, "features", "logits", extractor=images.CLASSIFIER, weights=classifier, device=CPU, cached=False
    )
    for ours, direct in zip(layers, read(images.load_classifier(classifier), x), strict=True):
        torch.testing.assert_close(ours, direct)


def test_frechet_distance_of_gaussians_in_closed_form():
    """N(0, a^2) and N(m, b^2) in d dimensions: |m|^2 + d (a - b)^2."""
    torch.manual_seed(0)
    x, y = torch.randn(100_000, 4), 3 + 2 * torch.randn(100_000, 4)
    assert images.fidelity(["fid"], x, x, y) == {"fid": pytest.approx(4 * 3**2 + 4 * 1**2, rel=0.01)}


def test_inception_score_in_closed_form():
    """k certain and equally frequent classes score k; uncertain images score 1."""
    certain = 100 * torch.eye(5).repeat(2000, 1)
    score = images.fidelity(["is"], certain, certain, certain)
    assert score["is"] == pytest.approx(5, rel=1e-2) and score["is_std"] < 0.05
    assert images.fidelity(["is"], certain, 0 * certain, certain) == {"is": pytest.approx(1), "is_std": 0}


def test_precision_and_recall_are_among_equal_numbers():
    torch.manual_seed(0)
    x = torch.randn(50, 3)
    assert images.fidelity(["prc"], x, x, torch.cat([x, 100 + x])) == {"precision": 1, "recall": 1}


def test_real_features_are_cached_by_content_and_weights(classifier, tmp_path):
    fake, real = pictures(20, seed=1), pictures(20, seed=2)
    first = by_classifier(fake, real, ["fid"], classifier)
    cache = tmp_path / "torch" / "fidelity_cache"
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert kept and by_classifier(fake, real, ["fid"], classifier) == first
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    assert by_classifier(fake, real.flip(1), ["fid"], classifier) != first
    torch.save({"state_dict": ResNet(3, 4, 1).state_dict()}, classifier)
    assert by_classifier(fake, real, ["fid"], classifier) != first
    assert len(list(cache.iterdir())) == 3 * len(kept)


def test_grey_images_are_read_as_rgb_and_rgb_is_refused_by_a_grey_classifier(classifier, tmp_path):
    grey = pictures(20, seed=1, channels=1)
    rgb = by_classifier(grey.expand(-1, 3, -1, -1), grey, ALL, classifier)
    assert by_classifier(grey, grey, ALL, classifier) == rgb
    torch.save({"state_dict": ResNet(1, 4, 1).state_dict()}, tmp_path / "grey.pt")
    with pytest.raises(ValueError, match="3 channels, and the extractor takes 1"):
        by_classifier(pictures(20, seed=1), grey, ["is"], tmp_path / "grey.pt")


def test_pixels_are_quantised_as_in_the_official_code():
    x = torch.linspace(-1, 1, 1001).view(1, 1, 1, -1)
    expected = ((x + 1) * (255.99 / 2)).int()
    assert np.array_equal(plots.to_uint8(x)[0, :, :, 0], expected[0, 0].numpy())
    levels = torch.arange(256) / 127.5 - 1  # training images, undequantised
    assert plots.to_uint8(levels.view(1, 1, 1, -1)).ravel().tolist() == list(range(256))


def test_inception_scores_need_the_reference_weights(tmp_path, monkeypatch, classifier):
    offline = "there is no network"

    def refuse(*arguments, **options):
        raise OSError(offline)

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    name = "weights-inception-2015-12-05-6726825d.pth"
    with pytest.raises(FileNotFoundError, match=f"{offline}.*{name}.*put it to .*checkpoints.*weights=FILE"):
        images.inception_weights(None)
    with pytest.raises(FileNotFoundError, match=name):
        images.inception_weights(str(tmp_path / "absent.pth"))
    with pytest.raises(ValueError, match="not called FID"):
        images.inception_weights(str(classifier))


def test_inceptions_layers(tmp_path, monkeypatch):
    """On random weights in place of the reference's: what is tested is the way there and back."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: None)
    torch.save({}, file)
    monkeypatch.setattr(images, "INCEPTION_SHA256", images.sha256(file))
    assert images.inception_weights(None) == file
    grey = pictures(3, seed=0, channels=1)
    options = {"extractor": images.INCEPTION, "weights": file, "device": CPU, "cached": True}
    features, logits = images.extract(grey, "features", "logits", **options)
    assert features.shape == (3, 2048) and logits.shape == (3, 1008)
