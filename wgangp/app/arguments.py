"""Checks that what a configuration passes to constructors has their arguments' names, and in ours their types."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import hydra

from wgangp.machine.text import typed

SAID = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", NoneType: "null"}


def check_arguments(node: Any, where: str) -> None:
    """Raises ValueError, in one line, if a plain node, or one within it, has an unknown key or a value of another type.

    `where` is the node's key. Other packages check their own values.
    """
    if not isinstance(node, dict):
        return
    target = str(node.get("_target_", ""))
    hints, names = hints_of(target), names_of(target)
    for key, value in node.items():
        if names and key not in names and not key.startswith("_"):
            raise ValueError(
                f"{where}.{key}: {target} has no such option. Leave it out, by ~{where}.{key} if it is a default; if "
                "an experiment sets it, choose data and networks that go with the experiment"
            )
        hint = hints.get(key, Any)
        if not has_type(value, hint):
            raise ValueError(f"{where}.{key}={typed(value)}: give {said(hint)}")
        check_arguments(value, f"{where}.{key}")


def check_complete(node: Any, where: str, given: Mapping[str, Any]) -> None:
    """Raises ValueError if a plain node of our own lacks a key that its target needs, beside the arguments `given`."""
    target = str(node.get("_target_", "")) if isinstance(node, dict) else ""
    if not target.startswith("wgangp."):
        return
    parameters = inspect.signature(hydra.utils.get_object(target)).parameters.values()
    needed = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY and p.default is p.empty]
    if missing := [name for name in needed if name not in {*node, *given}]:
        raise ValueError(f"{where}.{missing[0]} is missing: give {where}.{missing[0]}=...")


def names_of(target: str) -> set[str]:
    """Returns the names of the arguments that a constructor or function takes; none if it takes any, or hides them."""
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters.values() if target else ()
    except (ValueError, ImportError):  # of a class in C; a target that is not there, which hydra.utils.instantiate says
        return set()
    return set() if any(p.kind == p.VAR_KEYWORD for p in parameters) else {p.name for p in parameters}


def hints_of(target: str) -> dict[str, Any]:
    """Returns the annotations of the arguments that one of our own constructors or functions takes."""
    if not target.startswith("wgangp."):
        return {}
    made = inspect.unwrap(hydra.utils.get_object(target))
    return get_type_hints(made.__init__ if inspect.isclass(made) else made)


def has_type(value: Any, hint: Any) -> bool:
    """Whether a plain value is of this type. A whole number is a number, true is none, and nan is nothing."""
    if get_origin(hint) in (Union, UnionType):
        return any(has_type(value, kind) for kind in get_args(hint))
    if hint is float:
        return type(value) in (int, float) and not math.isnan(value)
    if hint in SAID:
        return type(value) is hint
    if get_origin(hint) in (list, tuple, Sequence):
        return isinstance(value, list) and all(has_type(part, get_args(hint)[0]) for part in value)
    if get_origin(hint) is Callable:
        return isinstance(value, dict)
    return True


def said(hint: Any) -> str:
    """Returns the type in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(said(kind) for kind in get_args(hint)))
    if get_origin(hint) in (list, tuple, Sequence):
        return f"a list, each entry {said(get_args(hint)[0])}"
    return SAID.get(hint, "an option of its group")
