"""Reads the keys and comments of conf/'s YAML files, for `--help` and for scripts/reference.py.

Pure text: a help page must not wait for torch, nor for OmegaConf, which drops comments.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SKIPPED = ("defaults", "hydra")  # blocks at the root: choices of options, and Hydra's own settings


class Key(NamedTuple):
    """One line of a YAML file: `penalty.weight`, `10.0`, `the paper's lambda`."""

    name: str
    value: str
    comment: str


def commented_keys(file: Path, prefix: str = "", others: Sequence[Key] = ()) -> list[Key]:
    """Returns the keys of a YAML file in its order, nested ones with dots, with their values as they are written.

    `prefix` is put before each name: "penalty." for the files of conf/penalty. A file that starts with
    `# @package NAME` has that prefix instead; with `# @package _global_` its names begin at the root. A key without a
    comment takes that of the same key in `others`, as an option takes from the one that it is based on.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    if lines and (package := re.match(r"# @package (\w+)", lines[0])):
        prefix = "" if package[1] == "_global_" else f"{package[1]}."
    known = {key.name: key.comment for key in others if key.comment}
    return [Key(prefix + name, value, comment or known.get(prefix + name, "")) for name, value, comment in _keys(lines)]


def about(file: Path) -> str:
    """Returns the comment at the top of a YAML file in one line; "" if there is none."""
    found: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            found.append(line.lstrip("# "))
    return " ".join(found)


def bases(file: Path) -> list[Path]:
    """Returns the files from which an option takes its other keys: [conf/penalty/wgan_gp.yaml] for r1.yaml."""
    names = [entry.partition("@")[0] for entry in _defaults(file) if entry != "_self_" and ":" not in entry]
    found = [file.parent / f"{name}.yaml" for name in names]
    return [each for base in found for each in (base, *bases(base))]


def default_options(file: Path) -> dict[str, str]:
    """Returns the option that conf/train.yaml chooses in each group: {"generator": "mlp", ...}."""
    pairs = (entry.partition(": ") for entry in _defaults(file) if ":" in entry and not entry.startswith("override"))
    return {group: option for group, _, option in pairs}


def aligned(keys: list[Key]) -> str:
    """Returns lines `name: value    # comment`, the comments below each other."""
    lines = [(f"{name}: {value}", comment) for name, value, comment in keys]
    width = min(60, max((len(left) for left, _ in lines), default=0))
    return "\n".join(f"{left:{width}}   # {comment}" if comment else left for left, comment in lines)


def _keys(lines: list[str]) -> Iterator[Key]:
    """Yields the keys; a key with an indented block below it has none of its own unless it is commented."""
    parents: list[tuple[int, str]] = []  # (indentation, name) of the blocks around a line
    for i, line in enumerate(lines):
        found = re.match(r"( *)([\w.@/-]+):(?: +(.*))?$", line)
        if found is None:
            continue
        indentation = len(found[1])
        while parents and parents[-1][0] >= indentation:
            parents.pop()
        parents.append((indentation, found[2]))
        value, comment = _split_comment(found[3] or "")
        opens_block = not value and i + 1 < len(lines) and re.match(rf" {{{indentation + 1},}}\S", lines[i + 1])
        if parents[0][1] not in SKIPPED and (not opens_block or comment):
            yield Key(".".join(name for _, name in parents), value, comment)


def _split_comment(text: str) -> tuple[str, str]:
    """Splits `value  # comment`; a # within quotes belongs to the value."""
    found = re.match(r"""((?:"[^"]*"|'[^']*'|[^"'#]|(?<=\S)#)*?)(?:(?:^|\s+)#\s*(.*))?$""", text)
    return (found[1].strip(), found[2] or "") if found else (text.strip(), "")


def _defaults(file: Path) -> list[str]:
    """Returns the entries of the `defaults:` list, without comments."""
    block = re.search(r"^defaults:\n((?: +- .*\n)+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    lines = block[1].splitlines() if block else []
    return [_split_comment(line.strip().removeprefix("- "))[0] for line in lines]


def page(folders: Sequence[Path], config_name: str, chosen: dict[str, str]) -> str:
    """Returns what `--help` shows: the command's usage, the groups with their options, and each key with its comment.

    `folders` are conf/ and further ones, in which options lie. `chosen` are the command line's options of groups, whose
    keys are shown in place of the default ones.
    """

    def found(name: str) -> Path:
        return next((file for folder in folders if (file := folder / name).is_file()), folders[0] / name)

    file = found(f"{config_name}.yaml")
    parts = [_usage(file)]
    selected = default_options(file) | chosen
    if "dataset" in selected:  # it chooses networks, which the command line may choose otherwise
        selected |= _overridden(found(f"dataset/{selected['dataset']}.yaml")) | chosen
    if selected:
        parts.append("Groups and their options (group=option):\n\n" + _groups(folders))
    parts.append(aligned(commented_keys(file)))
    for group, option in selected.items():
        folder, _, package = group.partition("@")
        chosen_file = found(f"{folder}/{option}.yaml")
        if chosen_file.is_file():
            prefix = f"{package or folder.replace('/', '.')}."
            others = [key for base in bases(chosen_file) for key in commented_keys(base, prefix)]
            own = commented_keys(chosen_file, prefix, others)
            named = {key.name for key in own}
            keys = [*own, *(key for key in others if key.name not in named)]
            comment = f"   # {about(chosen_file)}" if about(chosen_file) else ""
            parts.append(f"{group}={option}{comment}\n" + aligned(keys))
    return "\n\n".join(parts) + "\n"


def _overridden(file: Path) -> dict[str, str]:
    """Returns the options that a dataset or experiment chooses: {"generator": "dcgan", ...}."""
    entries = _defaults(file) if file.is_file() else []
    pairs = (entry.removeprefix("override /").partition(": ") for entry in entries if entry.startswith("override /"))
    return {group: option for group, _, option in pairs}


def _usage(file: Path) -> str:
    """Returns the usage lines of the YAML file's hydra.help.template; of other commands the comment at the top."""
    found = re.search(r"^    template: \|\n((?:(?: {6}.*)?\n)+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        return about(file)
    lines = [line[6:].replace("$$", "$") for line in found[1].splitlines()]
    return "\n".join(line for line in lines if not line.startswith("$")).strip()


def _groups(folders: Sequence[Path]) -> str:
    """Returns a line for each group with its options."""
    options: dict[str, list[str]] = {}
    for conf, file in ((folder, file) for folder in folders for file in sorted(folder.rglob("*.yaml"))):
        group = file.parent.relative_to(conf).as_posix()
        if group == "." or group.startswith("hydra") or group.endswith("/common"):
            continue
        group, _, nested = group.partition("/") if group.startswith("experiment") else (group, "", "")
        options.setdefault(group, []).append(f"{nested}/{file.stem}".lstrip("/"))
    return "\n".join(f"{group}: {', '.join(names)}" for group, names in options.items())
