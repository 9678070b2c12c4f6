"""Devices, processes, compilation, CUDA graphs, checks for NaN, averages of weights. It imports torch alone."""
