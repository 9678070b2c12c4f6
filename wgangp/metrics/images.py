"""Scores of images as torch-fidelity computes them, on the features of the reference Inception or of our classifier.

They are those of torch_fidelity.calculate_metrics, but for precision and recall among equal numbers; its parts are
called one by one so that features are extracted once for all scores.
"""

import hashlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id_cached
from tqdm import tqdm

from wgangp.metrics.classifier import load_classifier, sha256

INCEPTION = "inception-v3-compat"  # torch-fidelity's names of extractors; the second is registered below
CLASSIFIER = "wgangp-classifier"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
LAYERS = {
    INCEPTION: {"features": "2048", "logits": "logits_unbiased"},
    CLASSIFIER: {"features": "features", "logits": "logits"},
}
NAMES = {
    torch_fidelity.KEY_METRIC_FID: "fid",
    torch_fidelity.KEY_METRIC_ISC_MEAN: "is",
    torch_fidelity.KEY_METRIC_ISC_STD: "is_std",
    torch_fidelity.KEY_METRIC_KID_MEAN: "kid",
    torch_fidelity.KEY_METRIC_KID_STD: "kid_std",
    torch_fidelity.KEY_METRIC_PRECISION: "precision",
    torch_fidelity.KEY_METRIC_RECALL: "recall",
}
KID_SUBSET = 1000


class Pixels(Dataset):
    """Images (n, c, h, w) uint8 one by one, grey ones as RGB where 3 channels are asked; a bar shows how far it is."""

    def __init__(self, images: Tensor, channels: int) -> None:
        if images.shape[1] not in (1, channels):
            raise ValueError(f"these images have {images.shape[1]} channels, and the extractor takes {channels}")
        self.images = images.cpu()
        self.channels = channels
        self.bar = tqdm(total=len(images), unit="img", desc="features", leave=False, disable=None)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        self.bar.update()
        return self.images[i].expand(self.channels, -1, -1)

    def fingerprint(self) -> str:
        """Tells these images from others."""
        return hashlib.sha256(self.images.contiguous().numpy().data).hexdigest()[:16]


class ClassifierExtractor(torch_fidelity.FeatureExtractorBase):
    """Our classifier as torch-fidelity's feature extractor."""

    def __init__(
        self, name: str, features_list: list[str], *, feature_extractor_weights_path: Path, **options: Any
    ) -> None:
        """torch-fidelity passes all of its options; only the weights' path matters here."""
        super().__init__(name, features_list)
        self.network = load_classifier(feature_extractor_weights_path)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features, logits = self.network(x)
        return tuple({"features": features, "logits": logits}[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False


torch_fidelity.register_feature_extractor(CLASSIFIER, ClassifierExtractor)


def inception_weights(path: str | None) -> Path:
    """The file of the reference Inception's weights: the one given, or torch's cached download.

    Raises FileNotFoundError where there is none and no network, ValueError where the file is another one.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name
    file = Path(path) if path else cached
    if path is None and not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(cached), INCEPTION_SHA256, progress=False)
        except Exception as error:  # no network, no such host, a proxy's page instead of the file
            raise FileNotFoundError(
                f"the Inception weights cannot be downloaded ({error}): fetch {URL_INCEPTION_V3} elsewhere and put it "
                f"to {cached}, or say weights=FILE"
            ) from error
    if not file.is_file():
        raise FileNotFoundError(f"weights={file}: there is no such file; fetch {URL_INCEPTION_V3}")
    if sha256(file) != INCEPTION_SHA256:
        raise ValueError(
            f"{file} does not hold the reference Inception (its sha256 is not {INCEPTION_SHA256[:8]}...), and a score "
            f"from another network is not called FID or IS: fetch {URL_INCEPTION_V3}"
        )
    return file


def extract(
    images: Tensor, *layers: str, extractor: str, weights: Path, device: torch.device, cached: bool
) -> tuple[Tensor, ...]:
    """Layers (n, d) of images (n, c, h, w) uint8 by torch-fidelity, on the CPU; `cached` keeps them in its cache.

    The layers are called features and logits: the pooled ones, and the classes' scores.
    """
    channels = 3 if extractor == INCEPTION else load_classifier(weights).channels
    pixels, names = Pixels(images, channels), [LAYERS[extractor][layer] for layer in layers]
    options: dict[str, Any] = {
        "feature_extractor_weights_path": weights,
        "input1": pixels,
        "input1_cache_name": f"{pixels.fingerprint()}-{sha256(weights)[:16]}" if cached else None,
        "save_cpu_ram": True,  # no worker processes
        "cuda": device.type == "cuda",
        "verbose": False,
    }
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        network = create_feature_extractor(extractor, names, **options)
        found = extract_featuresdict_from_input_id_cached(1, network, **options)
    return tuple(found[name] for name in names)


def fidelity(names: list[str], features: Tensor, logits: Tensor, real: Tensor) -> dict[str, float]:
    """torch-fidelity's scores of generated features (n, d) and logits (n, k), the first against real features (m, d).

    Of the names: fid, the Fréchet distance (Heusel et al. 2017); is and is_std, exp E KL(p(y|x) || p(y)) in 10 splits
    (Salimans et al. 2016); kid and kid_std, the squared MMD in 100 subsets (Bińkowski et al. 2018); prc, which gives
    precision and recall by 3 neighbours among equal numbers of both (Kynkäänniemi et al. 2019).
    """
    values: dict[str, float] = {}
    n = min(len(features), len(real))
    if "fid" in names:
        values |= fid_statistics_to_metric(*map(fid_features_to_statistics, (features, real)), verbose=False)
    if "is" in names:
        values |= isc_features_to_metric(logits)
    if "kid" in names:  # unbiased for subsets of any size
        values |= kid_features_to_metric(features, real, kid_subset_size=min(KID_SUBSET, n), verbose=False)
    if "prc" in names:
        values |= prc_features_to_metric(features[:n], real[:n], save_cpu_ram=True, prc_batch_size=1000, verbose=False)
    return {NAMES[key]: value for key, value in values.items() if key in NAMES}
