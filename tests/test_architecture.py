"""Imports go down only: the order of the rooms."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "wgangp"
FLOORS = [  # a room imports from those above it in this list
    {"machine"},
    {"units", "style", "tags"},
    {"models", "losses", "optimizers", "schedules", "augmentation"},
    {"penalties"},
    {"data"},
    {"pictures"},
    {"metrics"},
    {"sampling"},
    {"contracts"},
    {"trainer"},
    {"speed", "run_dir", "progress"},
    {"observer"},
    {"preflight"},
    {"training_loop"},
    {"app"},
    {"run"},
    {"api"},
    {"sweeps"},
    {"train", "sample", "evaluate", "summarize", "train_classifier"},
    {"resume"},
    {"commands"},
]
HYDRA = {
    "app",
    "run",
    "api",
    "sweeps",
    "train",
    "sample",
    "evaluate",
    "summarize",
    "resume",
}  # may import hydra and omegaconf


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_go_down_only():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "__init__.py":
            continue
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "wgangp" and parts[1:] and parts[1] != here:
                assert floor[parts[1]] < floor[here], f"{path.relative_to(PACKAGE)} imports {name}"
            assert parts[0] not in ("hydra", "omegaconf") or here in HYDRA, f"{path.relative_to(PACKAGE)}: {name}"
