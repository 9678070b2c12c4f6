"""Imports go down only: the floors of the house."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "wgangp"
FLOORS = [
    {"layers", "ema", "device", "compiled", "distributed", "divergence", "gradients", "graphs", "monitor", "schedules"},
    {"models", "penalties", "losses", "data"},
    {"checkpoint", "logger", "plots"},
    {"metrics", "observer"},
    {"trainer"},
    {"preflight"},
    {"trust"},
    {"config"},
    {"jobs", "search"},
    {"plugins", "report"},
    {"train", "sample"},
    {"resume", "evaluate", "summarize"},
]


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
            if parts[0] == "wgangp" and parts[1] != here:
                assert floor[parts[1]] < floor[here], f"{path.name} imports {name}"
            assert parts[0] not in ("hydra", "omegaconf") or floor[here] >= floor["trust"], f"{path.name}: {name}"
