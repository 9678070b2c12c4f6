"""torch-fidelity's scores through our glue: equalities, closed forms, few and sorted images, the cache, the weights."""

import math

import pytest
import torch
from torch import nn

from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.metrics import extractors, features, fidelity, names_of
from wgangp.metrics.classifier import ResNet, read
from wgangp.metrics.conditions import ConditionsRead
from wgangp.metrics.extractors import classifier
from wgangp.metrics.features import kept_features
from wgangp.metrics.images import FID, IS, KID, PRC, PRCVGG16, ByClassifier, StackedModes
from wgangp.metrics.objective import HIGHER_IS_BETTER
from wgangp.metrics.synthetic import TrainOnSynthetic
from wgangp.metrics.text import NgramJS
from wgangp.metrics.toy import Modes, Wasserstein1
from wgangp.pictures.images import to_uint8

torch_fidelity = pytest.importorskip("torch_fidelity")  # wgangp[eval]

CPU = torch.device("cpu")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of a random classifier; caches are in the test's folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.manual_seed(0)
    torch.save({"state_dict": ResNet(3, 4, 1).state_dict()}, tmp_path / "c.pt")
    return tmp_path / "c.pt"


def pictures(n, seed, channels=3, size=8):
    """Smooth random images (n, c, size, size) uint8."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, 3, 3, generator=generator)
    return (nn.functional.interpolate(x, (size, size), mode="bilinear") * 255).to(torch.uint8)


def data(images, test=None):
    """Unlabelled images as a dataset."""
    parts = [Split(x, torch.zeros(len(x), dtype=torch.long)) if x is not None else None for x in (images, test)]
    return Images(*parts, 0, flip=False, dequantise=False, seed=0, device=CPU)


def by_classifier(fake, real, file):
    """The classifier's scores without their prefix."""
    values = ByClassifier(str(file))(fake, None, data(real), CPU).values
    return {name.removeprefix("classifier_"): value for name, value in values.items()}


def test_a_dataset_is_at_no_distance_from_itself_and_its_halves_are_near(file):
    x = pictures(400, seed=0)
    same, halves, dark = (by_classifier(*pair, file) for pair in [(x, x), (x[:200], x[200:]), (x[:200] // 2, x[200:])])
    assert abs(same["frechet"]) < 1e-3 * dark["frechet"] and halves["frechet"] < 0.1 * dark["frechet"]
    assert same["precision"] == same["recall"] == 1 and dark["precision"] < halves["precision"]
    assert abs(halves["kernel"]) < dark["kernel"]


class Registered(torch_fidelity.FeatureExtractorBase):
    """Our classifier as torch-fidelity wants to have it."""

    def __init__(self, name, features_list, *, feature_extractor_weights_path, **options):
        super().__init__(name, features_list)
        self.network = extractors.load_classifier(feature_extractor_weights_path)

    def forward(self, x):
        return tuple(dict(zip(("features", "logits"), self.network(x), strict=True))[n] for n in self.features_list)

    @staticmethod
    def get_provided_features_list():
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits" if metric == "isc" else "features"


def test_numbers_are_torch_fidelitys_own(file):
    fake, real = pictures(60, seed=1), pictures(60, seed=2)
    torch_fidelity.register_feature_extractor("test-classifier", Registered)
    ours = by_classifier(fake, real, file)
    theirs = torch_fidelity.calculate_metrics(
        input1=Listed(fake),
        input2=Listed(real),
        feature_extractor="test-classifier",
        feature_extractor_weights_path=file,
        **dict.fromkeys(("isc", "fid", "kid", "prc"), True),
        kid_subset_size=60,
        save_cpu_ram=True,
        cuda=False,
        cache=False,
        verbose=False,
    )
    for name, key in {
        "frechet": torch_fidelity.KEY_METRIC_FID,
        "score": torch_fidelity.KEY_METRIC_ISC_MEAN,
        "score_std": torch_fidelity.KEY_METRIC_ISC_STD,
        "kernel": torch_fidelity.KEY_METRIC_KID_MEAN,
        "kernel_std": torch_fidelity.KEY_METRIC_KID_STD,
        "precision": torch_fidelity.KEY_METRIC_PRECISION,
        "recall": torch_fidelity.KEY_METRIC_RECALL,
    }.items():
        assert ours[name] == pytest.approx(theirs[key], rel=1e-5, abs=1e-8), name


class Listed(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def test_extracted_layers_are_the_networks_own(file):
    x = pictures(70, seed=1)
    layers = classifier(str(file))(x, CPU)
    for ours, direct in zip(layers, read(extractors.load_classifier(file), x), strict=True):
        torch.testing.assert_close(ours, direct)


def test_frechet_distance_of_gaussians_in_closed_form():
    """N(0, a^2) and N(m, b^2) in d dimensions: |m|^2 + d (a - b)^2."""
    torch.manual_seed(0)
    x, y = torch.randn(100_000, 4), 3 + 2 * torch.randn(100_000, 4)
    assert fidelity.frechet(x, y) == pytest.approx(4 * 3**2 + 4 * 1**2, rel=0.01)


def test_inception_score_in_closed_form():
    """k certain and equally frequent classes score k; uncertain images score 1."""
    certain = 100 * torch.eye(5).repeat(2000, 1)
    mean, std = fidelity.inception_score(certain)
    assert mean == pytest.approx(5, rel=1e-2) and std < 0.05
    assert fidelity.inception_score(0 * certain) == (pytest.approx(1), 0)


def test_precision_and_recall_of_images_sorted_by_class_are_those_of_shuffled_ones():
    """3,300 reals of ten separate classes against 1,000: the first thousand would hold but three classes."""
    torch.manual_seed(0)
    labels = torch.arange(3300) // 330
    real = 20 * torch.eye(10)[labels] + torch.randn(3300, 10)
    fake = 20 * torch.eye(10)[torch.randint(10, (1000,))] + torch.randn(1000, 10)
    in_order = fidelity.precision_recall(fake, real)
    shuffled = fidelity.precision_recall(fake, real[torch.randperm(3300)])
    assert in_order == pytest.approx(shuffled, abs=0.03) and min(in_order) > 0.7
    backwards = fidelity.precision_recall(real, fake)  # a part of the generated ones, too
    assert backwards == pytest.approx(in_order[::-1], abs=0.03)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 19, 20])
def test_few_images_give_a_value_or_one_clear_line(n):
    torch.manual_seed(0)
    x, y, logits = torch.randn(n, 8), torch.randn(50, 8), torch.randn(n, 4)
    for least, score in [
        (2, lambda: [fidelity.frechet(x, y)]),
        (2, lambda: [fidelity.frechet(y, x)]),
        (2, lambda: fidelity.kernel(x, y)),
        (2, lambda: fidelity.kernel(y, x)),
        (4, lambda: fidelity.precision_recall(x, y)),
        (4, lambda: fidelity.precision_recall(y, x)),
        (20, lambda: fidelity.inception_score(logits)),
    ]:
        if n >= least:
            assert all(map(math.isfinite, score()))
        else:
            with pytest.raises(ValueError, match=rf"needs at least {least} \w+ images: there are {n}$"):
                score()


class Counted(extractors.Extractor):
    """An extractor that notes how many images it is given."""

    calls: list[int] = []  # noqa: RUF012

    def __call__(self, images, device):
        self.calls.append(len(images))
        return super().__call__(images, device)


def test_metrics_of_one_evaluation_extract_features_once(file, monkeypatch):
    monkeypatch.setattr(Counted, "calls", [])
    monkeypatch.setattr("wgangp.metrics.images.inception", lambda weights: Counted(**vars(classifier(str(file)))))
    fake, real = pictures(20, seed=1), data(pictures(30, seed=2))
    metrics = [FID(None), IS(None), KID(None), PRC(None)]
    values = [metric(fake, None, real, CPU).values for metric in metrics]
    assert Counted.calls == [20, 30]
    assert {name for part in values for name in part} == names_of(metrics)
    FID(None)(fake.clone(), None, real, CPU)  # another evaluation: the real images' features are in the cache
    assert Counted.calls == [20, 30, 20]
    kept = len(features._of_samples.values)
    del fake
    assert len(features._of_samples.values) == kept - 1  # forgotten with the samples


def test_real_features_are_cached_by_content_and_weights(file, tmp_path):
    real, extractor = pictures(20, seed=2), classifier(str(file))
    first = kept_features(real, extractor, CPU)
    (cache,) = (tmp_path / "torch" / "wgangp_features").iterdir()
    torch.save(first + 1, cache)
    assert torch.equal(kept_features(real, extractor, CPU), first + 1)
    assert not torch.equal(kept_features(real.flip(1), extractor, CPU), first)
    cache.write_bytes(cache.read_bytes()[:100])
    torch.testing.assert_close(kept_features(real, extractor, CPU), first)
    torch.save({"state_dict": ResNet(3, 4, 1).state_dict()}, file)
    assert not torch.equal(kept_features(real, classifier(str(file)), CPU), first)
    assert len(list(cache.parent.iterdir())) == 3


class Code:
    def __reduce__(self):
        return print, ("this code ran",)


def test_a_forged_cache_runs_no_code_and_a_folder_that_cannot_be_written_to_stops_nothing(file, tmp_path, capsys):
    real, extractor = pictures(20, seed=2), classifier(str(file))
    first = kept_features(real, extractor, CPU)
    (cache,) = (tmp_path / "torch" / "wgangp_features").iterdir()
    torch.save(Code(), cache)
    torch.testing.assert_close(kept_features(real, extractor, CPU), first)
    assert "this code ran" not in capsys.readouterr().out
    cache.unlink()
    cache.parent.rmdir()
    cache.parent.write_text("a file where the folder should be")
    torch.testing.assert_close(kept_features(real, extractor, CPU), first)


def test_a_full_disk_loses_no_score(file, tmp_path, monkeypatch):
    def save(content, path):
        path.write_bytes(b"half of it")
        raise RuntimeError("unexpected pos 64 vs 0")  # torch's, of a disk that is full

    real, extractor = pictures(20, seed=2), classifier(str(file))
    monkeypatch.setattr(torch, "save", save)
    assert len(kept_features(real, extractor, CPU)) == 20
    assert not list((tmp_path / "torch" / "wgangp_features").iterdir())


def test_grey_images_are_read_as_rgb_and_rgb_is_refused_by_a_grey_classifier(file, tmp_path):
    grey = pictures(20, seed=1, channels=1)
    assert by_classifier(grey.expand(-1, 3, -1, -1), grey, file) == by_classifier(grey, grey, file)
    torch.save({"state_dict": ResNet(1, 4, 1).state_dict()}, tmp_path / "grey.pt")
    with pytest.raises(ValueError, match="takes images of 1 channels: these have 3"):
        by_classifier(pictures(20, seed=1), grey, tmp_path / "grey.pt")


def test_pixels_are_quantised_as_in_the_official_code():
    x = torch.linspace(-1, 1, 1001).view(1, 1, 1, -1)
    expected = ((x + 1) * (255.99 / 2)).int()
    levels = (torch.arange(256) / 127.5 - 1).view(1, 1, 1, -1)  # training images, undequantised
    for quantised in (to_uint8, lambda x: data(pictures(1, 0)).to_metric_input(x).numpy()):
        assert quantised(x).ravel().tolist() == expected.ravel().tolist()
        assert quantised(levels).ravel().tolist() == list(range(256))


def test_inception_scores_need_the_reference_weights(tmp_path, monkeypatch, file):
    tries = []

    def refuse(*arguments, **options):
        tries.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    name = "weights-inception-2015-12-05-6726825d.pth"
    for metric in (FID(None), IS(None)):  # with one try: a network that does not answer takes minutes
        with pytest.raises(FileNotFoundError, match=f"there is no network.*{name}.*copy it to .*weights=F"):
            metric.check()
    assert len(tries) == 1
    with pytest.raises(FileNotFoundError, match=name):
        FID(str(tmp_path / "absent.pth")).check()
    with pytest.raises(ValueError, match="not called FID"):
        FID(str(file)).check()


def test_inceptions_layers(tmp_path, monkeypatch):
    """On random weights in place of the reference's: what is tested is the way there and back."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, state: None)
    torch.save({}, file)
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", extractors.sha256(file))
    extractor = extractors.inception(None)
    assert extractor.weights == file
    found, logits = extractor(pictures(3, seed=0, channels=1), CPU)
    assert found.shape == (3, 2048) and logits.shape == (3, 1008)


def test_precision_and_recall_by_vgg16_are_torch_fidelitys_default(tmp_path, monkeypatch):
    """On a small network in place of VGG16, whose weights take half a gigabyte."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torchvision.models.vgg16", Small)
    torch.manual_seed(0)
    torch.save(Small().state_dict(), tmp_path / "vgg16.pth")
    metric = PRCVGG16(str(tmp_path / "vgg16.pth"))
    with pytest.raises(ValueError, match="does not hold torchvision's VGG16"):
        metric.check()
    monkeypatch.setattr(extractors, "VGG16_SHA256", extractors.sha256(tmp_path / "vgg16.pth")[:8])
    metric.check()
    fake, real = pictures(30, seed=1), pictures(30, seed=2)
    result = metric(fake, None, data(real), CPU)
    assert result.measured_with["extractor"] == "vgg16" and result.measured_with["weights"] == "vgg16.pth"
    theirs = torch_fidelity.calculate_metrics(
        input1=Listed(fake),
        input2=Listed(real),
        feature_extractor_weights_path=tmp_path / "vgg16.pth",
        **{"prc": True, "save_cpu_ram": True, "cuda": False, "cache": False, "verbose": False},
    )
    assert result.values == {f"{name}_vgg16": pytest.approx(theirs[name]) for name in ("precision", "recall")}


class Small(nn.Module):
    """Has VGG16's seven last layers, narrow ones."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        last = [
            nn.Linear(48, 16),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(16, 16),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(16, 4),
        ]
        self.classifier = nn.Sequential(*last)

    def forward(self, x):
        return self.classifier(self.pool(x).flatten(1))


class Brightness(nn.Module):
    """Reads the digit d in a grey image of brightness 20 d."""

    def forward(self, x):
        return x.float().flatten(1), nn.functional.one_hot(x[:, 0, 0, 0].long() // 20, 10).float()


def test_triples_of_digits_are_counted(monkeypatch, tmp_path):
    (tmp_path / "digits.pt").write_bytes(b"a classifier")
    extractor = extractors.Extractor("brightness", tmp_path / "digits.pt", 1, lambda path: Brightness())
    monkeypatch.setattr("wgangp.metrics.images.classifier", lambda path: extractor)
    triples = torch.cartesian_prod(*[torch.arange(10)] * 3)  # each of the 1,000 once

    def score(triples):
        images = (20 * triples)[:, :, None, None].expand(-1, 3, 4, 4).to(torch.uint8)
        return StackedModes("digits.pt")(images, None, data(images), CPU).values

    assert score(triples) == {"stacked_modes": 1000, "stacked_kl": pytest.approx(0, abs=1e-6)}
    assert score(triples[:10].repeat(3, 1)) == {"stacked_modes": 10, "stacked_kl": pytest.approx(math.log(100))}
    assert score(torch.tensor([[1, 2, 3], [3, 2, 1]]))["stacked_modes"] == 2  # the order of the channels counts
    assert not StackedModes(None).suits(data(pictures(2, seed=0, channels=1)))
    coloured = Split(pictures(4, seed=0, channels=3), torch.arange(4) % 2)
    options = {"class_names": ("a", "b"), "flip": False, "dequantise": False, "seed": 0, "device": CPU}
    assert not StackedModes(None).suits(Images(coloured, None, 2, **options))


def test_the_directions_known_by_name_are_those_of_the_metrics():
    metrics = (
        Modes,
        Wasserstein1,
        NgramJS,
        FID,
        IS,
        KID,
        PRC,
        PRCVGG16,
        ByClassifier,
        StackedModes,
        TrainOnSynthetic,
        ConditionsRead,
    )
    higher = {name for metric in metrics for name, better in metric.higher_is_better.items() if better}
    assert higher | {"validation/accuracy"} == HIGHER_IS_BETTER
