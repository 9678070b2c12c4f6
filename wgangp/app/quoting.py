"""Paths and names of the command line, as Hydra reads them."""

import os
import re

from wgangp.app.plain import DATASET_PATHS

PATHS = (  # keys whose value is a path, and is taken as it is typed
    *("run", "out", "sweep", "classifier", "weights", "evaluate.classifier", "evaluate.weights", "hydra.run.dir"),
    *(f"dataset.{key}" for key in DATASET_PATHS),
    *("hydra.sweep.dir", "scores.fvd.weights", "scores.prc_vgg16.weights"),
)
MAYBE_PATHS = ("dataset.held_out", "dataset.condition", "condition")  # or a number, or the name of a column
NAMES = {"label", "name", *(f"dataset.{key}" for key in ("classes", "columns", "labels", "key", "condition"))}
# Not as Python writes it: with a _, an exponent, a last zero behind the point, or NaN.
ODD_NUMBER = re.compile(r"[-+]?(\d[\d.]*_[\d._]*|[\d._]+e[-+]?\d+|\d+\.(\d*0(?<!\.0))?|\.\d+|nan|inf)", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|true|false", re.IGNORECASE)
PLAIN = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_./][\w./-]*", re.IGNORECASE | re.ASCII)
CALL = re.compile(r"[$?]|(choice|range|interval|glob|shuffle|sort|tag)\(")  # written in Hydra's own syntax
SWEEP = re.compile(rf"['\"\[]|{CALL.pattern}")
ENTRY = re.compile(r"""'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[^\s\[\],'"][^\[\],'"]*(?<!\s)""")  # of a list, or all there is


def with_quoted_path(argument: str, several: bool = False) -> str:
    """Returns an argument whose value is a path with quotes around it, if Hydra would read it as something else.

    2024_01_31 and 7 are numbers to Hydra, and ~ and spaces are errors. Of `several` values of a sweep each is quoted;
    Hydra's own folders have one.
    """
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    if name in NAMES and not CALL.match(value):
        value = as_typed(value, quotes_booleans=name == "name" and not several)
        argument = f"{key}={value}"
    is_path = name in PATHS or (name in MAYBE_PATHS and not NUMBER.fullmatch(value.partition(",")[0]))
    if not is_path or SWEEP.match(value):
        return argument
    paths = value.split(",") if several and not name.startswith("hydra.") else [value]
    return f"{key}={','.join(map(quoted, paths))}"


def as_typed(names: str, quotes_booleans: bool) -> str:
    """Returns names, perhaps in a list, with quotes around those that a number would change: 1.10, 1e3 and 2024_01."""

    def kept(found: re.Match[str]) -> str:
        is_odd = ODD_NUMBER.fullmatch(found[0]) or (quotes_booleans and found[0].lower() in ("true", "false"))
        return f"'{found[0]}'" if is_odd else found[0]

    return ENTRY.sub(kept, names)


def quoted(path: str) -> str:
    """Returns a path as Hydra reads it. In its quotes a backslash stands for itself, but before a quote."""
    if not path or path == "null" or PLAIN.fullmatch(path) or path[0] in "'\"[$?":
        return path
    doubled = re.sub(r"(\\+)(?='|$)", r"\1\1", os.path.expanduser(path))
    return "'" + doubled.replace("'", "\\'") + "'"
