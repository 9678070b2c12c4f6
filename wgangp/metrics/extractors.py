"""The networks that extract features of images and clips, and where their weights come from."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from wgangp.metrics.classifier import load_classifier, sha256

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
VGG16_SHA256 = "397923af"  # its beginning, which is part of the file's name
I3D_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
BATCH = 64
I3D_BATCH = 4  # clips of 224x224 at once
CLIPS = 10_000  # of the data: videos have as many clips as frames


@dataclass(frozen=True)
class Extractor:
    """Maps images (n, channels, h, w) uint8 to a tuple: features (n, d) and, of some networks, logits (n, k).

    Clips (n, c, t, h, w) are images with c * t channels, or stay clips if it takes `clips`.
    """

    name: str
    weights: Path
    channels: int
    load: Callable[[Path], nn.Module]
    clips: bool = False
    batch: int = BATCH
    most: int = CLIPS  # of the data's clips

    def __call__(self, images: Tensor, device: torch.device) -> tuple[Tensor, ...]:
        """Returns the layers of images (n, c, h, w) or clips, uint8, on the CPU; grey is repeated in every channel.

        Raises ValueError if the images have other channels.
        """
        images = images if self.clips else images.flatten(1, -3)
        if images.shape[1] not in (1, self.channels):
            raise ValueError(f"{self.name} takes images of {self.channels} channels: these have {images.shape[1]}")
        device = device if device.type == "cuda" else torch.device("cpu")
        network = self.load(self.weights).requires_grad_(False).eval().to(device)
        parts = torch.split(images, self.batch)
        batches = tqdm(parts, "features", unit_scale=self.batch, unit="img", leave=False, disable=None)
        layers = [network(x.to(device).expand(-1, self.channels, *x.shape[2:])) for x in batches]
        return tuple(torch.cat([x.cpu() for x in layer]) for layer in zip(*layers, strict=True))

    def measured_with(self, n: int) -> dict[str, Any]:
        """Returns what evaluation.json records of a score of n images by this extractor."""
        weights = {"weights": self.weights.name, "weights_sha256": sha256(self.weights)}
        return {"extractor": self.name} | weights | {"samples": n, "reference": "training samples"}


def need_torch_fidelity() -> None:
    """Raises ValueError, with the command that installs it, if torch-fidelity is missing."""
    try:
        import torch_fidelity  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: pip install -e '.[eval]'") from error


def inception(path: str | None) -> Extractor:
    """The reference Inception (FID, IS, KID), its weights from a file, or from torch's cache or a download if None.

    Raises FileNotFoundError if there are no weights, ValueError if they are of another network or torch-fidelity is
    not installed.
    """
    need_torch_fidelity()
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name
    if path is None and not cached.exists() and (error := _download_error(URL_INCEPTION_V3, cached)):
        raise FileNotFoundError(
            f"the Inception weights cannot be downloaded ({error}): fetch {URL_INCEPTION_V3} on another machine and "
            f"copy it to {cached}, or set weights=FILE"
        )
    advice = f"fetch {URL_INCEPTION_V3}"
    file = weights_file("weights", path or cached, INCEPTION_SHA256, "the reference Inception", "FID or IS", advice)
    return Extractor("inception-v3-compat", file, 3, _load_inception)


def weights_file(option: str, path: str | Path, digest: str, network: str, score: str, advice: str) -> Path:
    """Returns an option's file. Raises FileNotFoundError or ValueError if it is not the one whose sha256 begins so."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{option}={path}: there is no such file; {advice}")
    if not sha256(Path(path)).startswith(digest):
        raise ValueError(
            f"{option}={path} does not hold {network} (its sha256 does not begin with {digest[:8]}), and a score "
            f"from another network is not called {score}: {advice}"
        )
    return Path(path)


@functools.cache  # several metrics ask, and each try may wait for a network that does not answer
def _download_error(url: str, file: Path) -> str:
    """Downloads the Inception weights to a file; returns the error, empty if there was none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), INCEPTION_SHA256, progress=False)
    except Exception as error:  # no network, no such host, a proxy's page instead of the file
        return str(error) or type(error).__name__
    return ""


def _load_inception(weights: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    layers = ["2048", "logits_unbiased"]
    network: nn.Module = Network("inception-v3-compat", layers, feature_extractor_weights_path=str(weights))
    return network


def vgg16(path: str) -> Extractor:
    """torchvision's VGG16, by which Kynkäänniemi et al. (2019) and torch-fidelity measure precision and recall.

    Raises FileNotFoundError or ValueError if the file is not that of its weights, or torch-fidelity is not installed.
    """
    need_torch_fidelity()
    from torchvision.models import VGG16_Weights

    url = VGG16_Weights.IMAGENET1K_V1.url
    network, score = "torchvision's VGG16", "precision_vgg16"
    file = weights_file("scores.prc_vgg16.weights", path, VGG16_SHA256, network, score, f"fetch {url}")
    return Extractor("vgg16", file, 3, _load_vgg16)


def _load_vgg16(weights: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16 as Network

    torch.load(weights, map_location="meta", weights_only=True)  # torch-fidelity would unpickle code, too
    network: nn.Module = Network("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(weights))
    return network


def i3d(path: str, most: int) -> Extractor:
    """The I3D network of FVD, trained on Kinetics-400, as TorchScript: StyleGAN-V's i3d_torchscript.pt.

    Raises FileNotFoundError or ValueError if the file is not that one, or torch-fidelity is not installed. TorchScript
    is a program, so no other file is loaded.
    """
    need_torch_fidelity()
    network = "StyleGAN-V's i3d_torchscript.pt"
    file = weights_file("scores.fvd.weights", path, I3D_SHA256, network, "FVD", f"give {network}")
    return Extractor("i3d", file, 3, I3D, clips=True, batch=I3D_BATCH, most=most)


class I3D(nn.Module):
    """The features (n, 400) of clips (n, 3, t, h, w) uint8; the TorchScript resizes them and scales them to [-1, 1]."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch.jit; there is no other file
            self.script = torch.jit.load(weights, map_location="cpu")

    def forward(self, clips: Tensor) -> tuple[Tensor]:
        return (self.script(clips.float(), rescale=True, resize=True, return_features=True),)


def classifier(path: str) -> Extractor:
    """Our classifier of a file of wgangp.train_classifier. Raises FileNotFoundError or ValueError, naming it."""
    return Extractor("wgangp-classifier", Path(path), load_classifier(Path(path)).channels, load_classifier)
