"""Paths of the command line, as Hydra reads them."""

import os
import re

from wgangp.app.plain import DATASET_PATHS

PATHS = (  # keys whose value is a path, and is taken as it is typed
    *("run", "out", "sweep", "classifier", "weights", "evaluate.classifier", "evaluate.weights", "hydra.run.dir"),
    *(f"dataset.{key}" for key in DATASET_PATHS),
    *("hydra.sweep.dir", "scores.fvd.weights", "scores.prc_vgg16.weights"),
)
MAYBE_PATHS = ("dataset.held_out", "dataset.condition", "condition")  # or a number, or the name of a column
NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|true|false", re.IGNORECASE)
PLAIN = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_./][\w./-]*", re.IGNORECASE | re.ASCII)
SWEEP = re.compile(r"['\"\[$?]|(choice|range|interval|glob|shuffle|sort|tag)\(")  # written in Hydra's own syntax


def with_quoted_path(argument: str, several: bool = False) -> str:
    """Returns an argument whose value is a path with quotes around it, if Hydra would read it as something else.

    2024_01_31 and 7 are numbers to Hydra, and ~ and spaces are errors. Of `several` values of a sweep each is quoted;
    Hydra's own folders have one.
    """
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    is_path = name in PATHS or (name in MAYBE_PATHS and not NUMBER.fullmatch(value.partition(",")[0]))
    if not is_path or SWEEP.match(value):
        return argument
    paths = value.split(",") if several and not name.startswith("hydra.") else [value]
    return f"{key}={','.join(map(quoted, paths))}"


def quoted(path: str) -> str:
    """Returns a path as Hydra reads it. In its quotes a backslash stands for itself, but before a quote."""
    if not path or path == "null" or PLAIN.fullmatch(path) or path[0] in "'\"[$?":
        return path
    doubled = re.sub(r"(\\+)(?='|$)", r"\1\1", os.path.expanduser(path))
    return "'" + doubled.replace("'", "\\'") + "'"
