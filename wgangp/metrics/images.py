"""Scores of images as torch-fidelity computes them, on the features of the reference Inception or of our classifier."""

import hashlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from tqdm import tqdm

from wgangp.metrics.classifier import load_classifier, sha256

INCEPTION = "inception-v3-compat"  # torch-fidelity's names of extractors; the second is registered below
CLASSIFIER = "wgangp-classifier"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
NAMES = {
    torch_fidelity.KEY_METRIC_FID: ("fid", "classifier_frechet"),
    torch_fidelity.KEY_METRIC_ISC_MEAN: ("is", "classifier_score"),
    torch_fidelity.KEY_METRIC_ISC_STD: ("is_std", "classifier_score_std"),
    torch_fidelity.KEY_METRIC_KID_MEAN: ("kid", "classifier_kernel"),
    torch_fidelity.KEY_METRIC_KID_STD: ("kid_std", "classifier_kernel_std"),
    torch_fidelity.KEY_METRIC_PRECISION: ("precision", "classifier_precision"),
    torch_fidelity.KEY_METRIC_RECALL: ("recall", "classifier_recall"),
}
KID_SUBSET = 1000


class Pixels(Dataset):
    """Images (n, c, h, w) uint8 one by one, grey ones as RGB where 3 channels are asked; a bar shows how far it is."""

    def __init__(self, images: Tensor, channels: int) -> None:
        if images.shape[1] not in (1, channels):
            raise ValueError(f"these images have {images.shape[1]} channels, and the classifier is for {channels}")
        self.images = images.cpu().expand(-1, channels, -1, -1)
        self.bar = tqdm(total=len(images), unit="img", desc="features", leave=False, disable=None)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        self.bar.update()
        return self.images[i]

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


def fidelity(
    fake: Tensor, real: Tensor | None, metrics: list[str], *, extractor: str, weights: Path, device: torch.device
) -> dict[str, float]:
    """torch-fidelity's ISC, FID, KID or PRC (precision and recall) of images (n, c, h, w) uint8.

    Precision and recall are on the same features as the others. The features of `real`, which ISC alone does not
    need, are kept in torch-fidelity's cache. Scores from Inception are called fid, is, kid, precision and recall, and
    those from the classifier classifier_NAME.
    """
    channels = 3 if extractor == INCEPTION else load_classifier(weights).channels
    inputs: dict[str, Any] = {"input1": Pixels(fake, channels)}
    if real is not None:
        inputs["input2"] = reference = Pixels(real, channels)
        inputs["input2_cache_name"] = f"{reference.fingerprint()}-{sha256(weights)[:16]}"
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        values = torch_fidelity.calculate_metrics(
            **inputs,
            **dict.fromkeys(metrics, True),
            feature_extractor=extractor,
            feature_extractor_weights_path=weights,
            kid_subset_size=min(KID_SUBSET, len(fake), len(fake if real is None else real)),
            prc_batch_size=2500,
            save_cpu_ram=True,  # no worker processes, and no matrix of all distances
            cuda=device.type == "cuda",
            verbose=False,
        )
    return {names[extractor == CLASSIFIER]: values[key] for key, names in NAMES.items() if key in values}
