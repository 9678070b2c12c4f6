"""The machine: devices, processes, compilation, CUDA graphs, finite checks, averages of weights; only torch below."""
