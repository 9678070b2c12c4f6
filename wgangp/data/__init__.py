"""Datasets: shape, num_classes, batch(index, n) and held_out(index, n), resident on the training device.

A batch is a function of its index and of torch's generator, which the trainer seeds once per step.
"""
