"""Writes docs/reference: `python scripts/reference.py`; with --check it changes nothing and fails if a page is stale.

The pages come from what is true anyway: conf/'s comments, the docstrings and signatures of the public names, and the
TensorBoard tags that the code writes. tests/test_docs.py runs the check.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from wgangp import api, train
from wgangp.app.help import about, bases, commented_keys, default_options
from wgangp.tags import HISTOGRAMS, IMAGES, SCALARS, VALIDATION

ROOT = Path(__file__).resolve().parents[1]
CONF, PACKAGE, PAGES = ROOT / "conf", ROOT / "wgangp", ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py: change the code or conf/, then run it. -->\n"

COMMANDS = {
    "train": "wgangp-train",
    "evaluate": "wgangp-evaluate",
    "sample": "wgangp-sample",
    "summarize": "wgangp-summarize",
}
GROUPS = ["dataset", "generator", "critic", "penalty", "penalty/schedule", "loss", "optimizer", "sweep"]
MODULES = ["wgangp", "wgangp.penalties", "wgangp.data", "wgangp.models", "wgangp.losses", "wgangp.metrics"]


def prose(text: str) -> str:
    """Returns plain text as Markdown that shows it unchanged: (n, *shape) is no emphasis. `code` stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\\])", r"\\\1", part) for part in parts)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


# ---- configuration


def configuration() -> str:
    parts = [NOTE, "# Configuration keys\n"]
    parts.append(
        "Every key can be set on the command line: `wgangp-train steps=1000 penalty.weight=1`. A group (`dataset`, "
        "`penalty`, ...) is set by the name of an option: `penalty=r1`. `wgangp-train --help` lists all groups and "
        "options, and the keys of those that you choose; `wgangp-train dataset=mnist --cfg job` prints the "
        "configuration that would run. A dataset has a schedule of its own: its table says which defaults it changes.\n"
    )
    for name, command in COMMANDS.items():
        parts += [f"## {command}\n", keys_table(CONF / f"{name}.yaml")]
        if name == "train":
            parts += list(groups())
    return "\n".join(parts)


def keys_table(file: Path, prefix: str = "") -> str:
    """Returns the keys of a file, and those of its bases that are no options, such as conf/dataset/common.

    A key without a comment has that of a base, or of conf/train.yaml.
    """
    inherited = {base: commented_keys(base, prefix) for base in bases(file)}
    known = [key for found in [*inherited.values(), commented_keys(CONF / "train.yaml")] for key in found]
    keys = commented_keys(file, prefix, known[::-1])
    shared = [key for base, found in inherited.items() if base.parent != file.parent for key in found]
    for key in shared:
        keys += [key] if key.name not in {other.name for other in keys} else []
    keys.sort(key=lambda key: not key.name.startswith(prefix))  # a dataset's own keys before those of its schedule
    rows = [(code(key.name), code(key.value), prose(key.comment)) for key in keys]
    return table(("key", "default", "meaning"), rows) if rows else ""


def groups() -> Iterator[str]:
    chosen = default_options(CONF / "train.yaml")
    for group in GROUPS:
        default = {option for key, option in chosen.items() if key.partition("@")[0] == group} - {"null"}
        yield f"### {group}\n"
        if group == "optimizer":
            yield "Chosen for each network: `optimizer@generator_optimizer=adam`, `optimizer@critic_optimizer=adam`.\n"
        if default:
            yield f"Default: {', '.join(code(option) for option in sorted(default))}. A dataset may choose another.\n"
        for file in sorted((CONF / group).glob("*.yaml")):
            yield option(file, group)
    for file in sorted(set(CONF.glob("*.yaml")) - {CONF / f"{name}.yaml" for name in COMMANDS}):
        yield f"### {file.stem}\n\n{prose(about(file))}\n"
        yield keys_table(file)
    yield "### experiment\n\nThe paper's settings, and narrow ones for a CPU, as differences from the defaults.\n"
    files = sorted((CONF / "experiment").rglob("*.yaml"))
    names = [str(file.relative_to(CONF / "experiment").with_suffix("")) for file in files]
    yield table(
        ("option", "about"), [(code(name), prose(about(file))) for name, file in zip(names, files, strict=True)]
    )


def option(file: Path, group: str) -> str:
    prefix = "generator_optimizer." if group == "optimizer" else group.replace("/", ".") + "."
    names = [base.stem for base in bases(file) if base.parent == file.parent]
    base = f" The other keys are those of {' and '.join(map(code, names))}." if names else ""
    return f"#### {group}={file.stem}\n\n{prose(about(file))}{base}\n\n{keys_table(file, prefix)}"


# ---- TensorBoard tags


def tags() -> str:
    meanings = SCALARS | HISTOGRAMS | VALIDATION | IMAGES
    rows = [(code(tag), prose(meaning)) for tag, meaning in meanings.items()]
    return "\n".join(
        [
            NOTE,
            "# TensorBoard tags\n",
            "The scalars are in `metrics.jsonl` under the same names, one object per log step with `step` and "
            "`images_seen`. How to read the curves: [tutorial](../tutorial.md#read-the-curves).\n",
            table(("tag", "meaning"), rows),
            "Scores are `eval/NAME`, at every `evaluate_every` steps and after the last step:\n",
            table(("metric", "score", "better"), list(scores())),
            "The HParams tab has the options, the penalty's weight, the learning rates and the seed of each run, and "
            "its overrides, with its last scores. The Text tab has its whole configuration.\n",
        ]
    )


def scores() -> Iterator[tuple[str, str, str]]:
    """Yields the class, the name and the direction of each score that the package computes."""
    for file in sorted((PACKAGE / "metrics").glob("*.py")):
        module = importlib.import_module(f"wgangp.metrics.{file.stem}".removesuffix(".__init__"))
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                for score, higher in getattr(value, "higher_is_better", {}).items():
                    yield code(f"{module.__name__}.{name}"), code(score), "higher" if higher else "lower"


# ---- Python


def python() -> str:
    parts = [NOTE, "# Python\n", "The names that other programs may rely on. Shapes: n batch, nz latent.\n"]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## {name}\n", prose(inspect.getdoc(module) or "") + "\n"]
        parts += [described(public, getattr(module, public)) for public in public_names(module)]
    return "\n".join(parts)


def public_names(module: ModuleType) -> list[str]:
    """Returns `__all__`, or else the classes and functions that the module defines."""
    defined = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    return [n for n in getattr(module, "__all__", defined) if not n.startswith("_")]


def described(name: str, value: Any) -> str:
    if value is train:  # the command's module, which can be called
        value = api.train
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return f"### `{name}`\n"
    node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    if isinstance(node, ast.FunctionDef):
        return f"### `{name}`\n\n```python\n{signature(node)}\n```\n\n{docstring(node)}\n"
    assert isinstance(node, ast.ClassDef)
    bases = f"({', '.join(ast.unparse(base) for base in node.bases)})" if node.bases else ""
    parts = [f"### `{name}`\n", f"```python\nclass {name}{bases}\n```\n", docstring(node) + "\n"]
    fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    if fields:
        parts.append("```python\n" + "\n".join(fields) + "\n```\n")
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and (part.name in ("__init__", "__call__") or part.name[0] != "_"):
            parts.append(f"* `{signature(part)}`{': ' if docstring(part) else ''}{' '.join(docstring(part).split())}")
    return "\n".join(parts) + "\n"


def signature(node: ast.FunctionDef) -> str:
    """Returns `name(arguments) -> result`, as it is written, without `self`."""
    arguments = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args))
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    return node.name if "property" in decorators else f"{node.name}({arguments}){result}"


def docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    return prose(ast.get_docstring(node) or "")


def pages() -> dict[Path, str]:
    """Returns the text of every page that this script writes."""
    made = {"configuration.md": configuration, "tags.md": tags, "python.md": python}
    return {PAGES / name: write().rstrip("\n") + "\n" for name, write in made.items()}


def main() -> None:
    stale = [page for page, text in pages().items() if not page.is_file() or page.read_text() != text]
    if "--check" in sys.argv[1:] and stale:
        names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
        sys.exit(f"{names}: stale; run python scripts/reference.py and commit the result")
    if "--check" not in sys.argv[1:]:
        PAGES.mkdir(parents=True, exist_ok=True)
        for page, text in pages().items():
            page.write_text(text)


if __name__ == "__main__":
    main()
