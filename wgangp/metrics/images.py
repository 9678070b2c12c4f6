"""Scores of images by the features of an extractor. Metrics of one evaluation share its features."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.data.labels import listed
from wgangp.metrics import Metric, Result, fidelity
from wgangp.metrics.classifier import HOW_TO_TRAIN, class_balance, load_classifier, nearest
from wgangp.metrics.extractors import Extractor, classifier, i3d, inception, need_torch_fidelity, vgg16
from wgangp.metrics.features import Features, features
from wgangp.metrics.reference import random_rows


class FeatureMetric(Metric):
    """Scores images by their features. A subclass says which extractor, and what it computes of the features."""

    def extractor(self) -> Extractor:
        """Raises ValueError or FileNotFoundError if its weights are missing."""
        raise NotImplementedError

    def score(self, found: Features) -> dict[str, float]:
        raise NotImplementedError

    def suits(self, dataset: Dataset) -> bool:
        return len(dataset.shape) == 3 and dataset.units is None

    def check(self) -> None:
        super().check()
        self.extractor()

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        extractor = self.extractor()
        values = self.score(features(extractor, samples, dataset, device))
        return Result(values, extractor.measured_with(len(samples)))


class InceptionMetric(FeatureMetric):
    """By the reference Inception. `weights` is the file of its weights; None: torch's cache, or a download."""

    def __init__(self, weights: str | None) -> None:
        self.weights = weights

    def extractor(self) -> Extractor:
        return inception(self.weights)


class FID(InceptionMetric):
    """`fid`, the Fréchet Inception distance to all training images (Heusel et al. 2017)."""

    higher_is_better: ClassVar = {"fid": False}

    def score(self, found: Features) -> dict[str, float]:
        return {"fid": fidelity.frechet(found.fake, found.real)}


class IS(InceptionMetric):
    """`is` and `is_std`, the Inception score: mean and standard deviation over 10 splits (Salimans et al. 2016)."""

    higher_is_better: ClassVar = {"is": True, "is_std": False}

    def score(self, found: Features) -> dict[str, float]:
        return dict(zip(self.higher_is_better, fidelity.inception_score(found.logits), strict=True))


class KID(InceptionMetric):
    """`kid` and `kid_std`, the kernel Inception distance: mean and std over subsets (Bińkowski et al. 2018)."""

    higher_is_better: ClassVar = {"kid": False, "kid_std": False}

    def score(self, found: Features) -> dict[str, float]:
        return dict(zip(self.higher_is_better, fidelity.kernel(found.fake, found.real), strict=True))


class PRC(InceptionMetric):
    """`precision` and `recall` (Kynkäänniemi et al. 2019), but by Inception's features: see `PRCVGG16`."""

    higher_is_better: ClassVar = {"precision": True, "recall": True}

    def score(self, found: Features) -> dict[str, float]:
        return dict(zip(self.higher_is_better, fidelity.precision_recall(found.fake, found.real), strict=True))


class PRCVGG16(PRC):
    """`precision_vgg16` and `recall_vgg16`: by VGG16's features, as in Kynkäänniemi et al. 2019 and torch-fidelity."""

    higher_is_better: ClassVar = {"precision_vgg16": True, "recall_vgg16": True}

    def __init__(self, weights: str | None) -> None:
        super().__init__(weights)
        self.missing = None if weights else "scores.prc_vgg16.weights=FILE, torchvision's vgg16-397923af.pth"

    def extractor(self) -> Extractor:
        return vgg16(str(self.weights))


class FVD(FeatureMetric):
    """`fvd`, the Fréchet distance of I3D's features (Unterthiner et al. 2018) of `samples` generated and real clips.

    By the file and the call of StyleGAN-V (Skorokhodov et al. 2022), whose published values are of 2,048 clips of 16
    frames at 256x256: the value depends on all three.
    """

    higher_is_better: ClassVar = {"fvd": False}
    FRAMES = 9  # I3D's strides leave an eighth, rounded up, and its last pooling takes two

    def __init__(self, weights: str | None, samples: int) -> None:
        self.weights, self.samples = weights, samples
        self.missing = None if weights else "scores.fvd.weights=FILE, StyleGAN-V's i3d_torchscript.pt"

    def suits(self, dataset: Dataset) -> bool:
        return dataset.is_video and dataset.shape[0] in (1, 3) and dataset.shape[1] >= self.FRAMES

    def extractor(self) -> Extractor:
        return i3d(str(self.weights), self.samples)

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        return super().__call__(random_rows(samples, self.samples), asked, dataset, device)

    def score(self, found: Features) -> dict[str, float]:
        return {"fvd": fidelity.frechet(found.fake, found.real)}


class ByClassifier(FeatureMetric):
    """The image scores by our classifier, under names of their own, since they are not comparable to Inception's.

    classifier_frechet, classifier_kernel, classifier_score, classifier_precision, classifier_recall: as FID, KID, IS
    and PRC. classifier_balance: KL of the classes' shares from those of the training labels (uniform, if there are
    none). classifier_nearest: mean feature distance to the nearest training image; if training images are memorised,
    it is far below classifier_nearest_held_out, that of held-out images. classifier_agreement: share of images that
    are classified as the class that the generator was asked for. It takes at least 20 images.
    """

    higher_is_better: ClassVar = {
        **{"classifier_frechet": False, "classifier_kernel": False, "classifier_kernel_std": False},
        **{"classifier_score": True, "classifier_score_std": False},
        **{"classifier_precision": True, "classifier_recall": True},
        **{"classifier_balance": False, "classifier_nearest": False, "classifier_nearest_held_out": False},
        **{"classifier_agreement": True},
    }
    quick = True

    def __init__(self, classifier: str | None) -> None:
        self.classifier = classifier
        self.missing = None if classifier else f"classifier=FILE; {HOW_TO_TRAIN}"

    def suits(self, dataset: Dataset) -> bool:
        return super().suits(dataset) or dataset.is_video

    def extractor(self) -> Extractor:
        need_torch_fidelity()  # for the scores by its features
        return classifier(str(self.classifier))

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        extractor = self.extractor()
        found = features(extractor, samples, dataset, device)
        num_classes = found.logits.shape[1]
        labels = asked if dataset.condition_shape is None else None
        if labels is not None:
            self.check_classes(num_classes, dataset)
        values = self.score(found) | self.score_labels(found.logits.argmax(1), labels, num_classes, dataset)
        return Result({f"classifier_{k}": v for k, v in values.items()}, extractor.measured_with(len(samples)))

    def check_classes(self, num_classes: int, dataset: Dataset) -> None:
        """Raises ValueError if the classifier's classes are not the data's; some files have no names of theirs."""
        if num_classes != dataset.num_classes:
            raise ValueError(
                f"classifier={self.classifier} has {num_classes} classes, and the data {dataset.num_classes}"
            )
        known = load_classifier(Path(str(self.classifier))).class_names
        if known and dataset.class_names and known != tuple(dataset.class_names):
            raise ValueError(
                f"classifier={self.classifier} knows the classes {listed(known)}, and the data have "
                f"{listed(dataset.class_names)}: train one on the same, in the same order"
            )

    def score(self, found: Features) -> dict[str, float]:
        values = {"frechet": fidelity.frechet(found.fake, found.real)}
        values["score"], values["score_std"] = fidelity.inception_score(found.logits)
        values["kernel"], values["kernel_std"] = fidelity.kernel(found.fake, found.real)
        values["precision"], values["recall"] = fidelity.precision_recall(found.fake, found.real)
        fake, real = found.fake.to(found.device), found.real.to(found.device)
        values["nearest"] = nearest(fake, real).mean().item()
        if found.held_out is not None:
            values["nearest_held_out"] = nearest(found.held_out.to(found.device), real).mean().item()
        return values

    def score_labels(self, found: Tensor, asked: Tensor | None, num_classes: int, dataset: Dataset) -> dict[str, float]:
        """Compares the classes found (n,) with the data's, and with those that the generator was asked for."""
        known = dataset.class_counts() if num_classes == dataset.num_classes else None
        names, ours = load_classifier(Path(str(self.classifier))).class_names, list(dataset.class_names)
        if known is not None and names and ours:  # in the classifier's order
            known = known[[ours.index(name) for name in names]] if sorted(names) == sorted(ours) else None
        values = {"balance": class_balance(found, torch.ones(num_classes) if known is None else known)}
        if asked is not None:
            values["agreement"] = (found == asked.cpu()).float().mean().item()
        return values


class StackedModes(Metric):
    """Of images of three digits: `stacked_modes`, how many of the 1,000 triples were seen, and `stacked_kl`.

    `stacked_kl` is KL(shares of the triples || uniform) in nats. A classifier of single digits reads each channel, as
    in Metz et al. 2017. Both depend on the number of samples; the literature takes 26,000, of which real data have all
    triples and a KL of about 999 / 52,000 = 0.02.
    """

    higher_is_better: ClassVar = {"stacked_modes": True, "stacked_kl": False}

    def __init__(self, classifier: str | None) -> None:
        self.classifier = classifier
        self.missing = None if classifier else "classifier=FILE; python -m wgangp.train_classifier dataset=mnist"

    def suits(self, dataset: Dataset) -> bool:
        """Whether images have three channels and no classes, as stacked digits have."""
        return len(dataset.shape) == 3 and dataset.shape[0] == 3 and dataset.units is None and not dataset.num_classes

    def check(self) -> None:
        super().check()
        classifier(str(self.classifier))

    @torch.no_grad()
    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        extractor = classifier(str(self.classifier))
        _, logits = extractor(samples.flatten(0, 1)[:, None], device)  # each channel is an image
        if logits.shape[1] != 10:
            raise ValueError(f"classifier={self.classifier} has {logits.shape[1]} classes, and digits are 10")
        triples = (logits.argmax(1).view(-1, 3) * torch.tensor([100, 10, 1])).sum(1)  # (n,)
        values = {"stacked_modes": float(len(triples.unique())), "stacked_kl": class_balance(triples, torch.ones(1000))}
        return Result(values, extractor.measured_with(len(samples)))
