"""Devices, processes, compilation, CUDA graphs, checks for NaN, averages of weights. Nothing of wgangp is below it."""
