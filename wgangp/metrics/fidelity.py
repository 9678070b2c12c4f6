"""Scores of image features, computed by torch-fidelity: features (n, d) of generated and (m, d) of real images.

Each equals what torch_fidelity.calculate_metrics returns for the same images and extractor, but for precision and
recall of unequal numbers. All raise ValueError for too few images. The package is optional: they import it when called.
"""

from torch import Tensor

from wgangp.metrics.reference import random_rows

KID_SUBSET = 1000
SPLITS = 10
NEIGHBOURS = 3


def frechet(fake: Tensor, real: Tensor) -> float:
    """Returns the Fréchet distance between Gaussians fitted to the features (Heusel et al. 2017)."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    _need("the Fréchet distance", 2, fake, real)
    statistics = [fid_features_to_statistics(x) for x in (fake, real)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def inception_score(logits: Tensor) -> tuple[float, float]:
    """Returns exp E KL(p(y|x) || p(y)) of logits (n, k): mean and std over 10 splits (Salimans et al. 2016)."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    _need("the Inception score", 2 * SPLITS, logits)  # of one image alone it is always 1
    values = isc_features_to_metric(logits, splits=SPLITS)
    return values[KEY_METRIC_ISC_MEAN], values[KEY_METRIC_ISC_STD]


def kernel(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Returns the squared MMD, unbiased: mean and std over 100 subsets of 1,000, or fewer (Bińkowski et al. 2018)."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    _need("the kernel distance", 2, fake, real)
    subset = min(KID_SUBSET, len(fake), len(real))
    values = kid_features_to_metric(fake, real, kid_subset_size=subset, verbose=False)
    return values[KEY_METRIC_KID_MEAN], values[KEY_METRIC_KID_STD]


def precision_recall(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Returns precision and recall by 3 neighbours among equal numbers of both (Kynkäänniemi et al. 2019).

    Of the more numerous ones, a seeded draw stands for all.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    _need("precision and recall", NEIGHBOURS + 1, fake, real)
    n = min(len(fake), len(real))
    options = {"prc_neighborhood": NEIGHBOURS, "prc_batch_size": 1000, "save_cpu_ram": True, "verbose": False}
    values = prc_features_to_metric(random_rows(fake, n), random_rows(real, n), **options)
    return values[KEY_METRIC_PRECISION], values[KEY_METRIC_RECALL]


def _need(score: str, least: int, fake: Tensor, real: Tensor | None = None) -> None:
    """Raises ValueError if there are fewer than `least` generated or real images."""
    for kind, x in (("generated", fake), ("training", real)):
        if x is not None and len(x) < least:
            raise ValueError(f"{score} needs at least {least} {kind} images: there are {len(x)}")
