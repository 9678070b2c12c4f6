"""The scores of a training run, from its configuration."""

import torch
from omegaconf import DictConfig

from wgangp.data import Dataset
from wgangp.metrics import scores


def make_scores(cfg: DictConfig, dataset: Dataset, device: torch.device) -> scores.Scores:
    weights, classifier = cfg.evaluate.weights, cfg.evaluate.classifier
    names = list(cfg.evaluate.metrics or scores.quick_names(dataset, classifier))
    measures = scores.measures(dataset, names, weights=weights, classifier=classifier, device=device)
    return scores.Scores(dataset, measures, cfg.evaluation_samples)
