"""Names: what ``"module:Name"`` and the public name of a part stand for, in saved files and on the command line.

A part of this library is saved by its public name, ``"ClippedSurrogate"``, so that a move of its file breaks no saved
file. A part of the user's is saved as ``"module:Name"``.
"""

from __future__ import annotations

import difflib
import importlib
import operator
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from g2rpo_env.errors import ConfigurationError

CONTROLLERS = "g2rpo_env.controllers"
"""The module that holds the controllers by their public names."""

LOCAL = "<locals>"
"""What the qualified name of a class holds that is defined inside a function."""

MOVED_MODULES: dict[str, str] = {
    "g2rpo_env.agents.adapters": "g2rpo_env.agents.policy.lora",
    "g2rpo_env.agents.advantages": "g2rpo_env.agents.parts.advantages.groups",
    "g2rpo_env.agents.decoder": "g2rpo_env.agents.policy.decoder",
    "g2rpo_env.agents.fast_decoder": "g2rpo_env.agents.policy.fast_decoder",
    "g2rpo_env.agents.generators": "g2rpo_env.agents.parts.strategies.generators",
    "g2rpo_env.agents.kv_cache": "g2rpo_env.agents.policy.kv_cache",
    "g2rpo_env.agents.losses": "g2rpo_env.agents.parts.losses.surrogate",
    "g2rpo_env.agents.memory": "g2rpo_env.agents.checkpointing",
    "g2rpo_env.agents.references": "g2rpo_env.agents.parts.references.terms",
    "g2rpo_env.agents.scoring": "g2rpo_env.agents.policy.scoring",
    "g2rpo_env.agents.selection": "g2rpo_env.agents.parts.selection.filters",
    "g2rpo_env.agents.shaping": "g2rpo_env.agents.parts.shaping.rewards",
    "g2rpo_env.agents.step_graphs": "g2rpo_env.agents.policy.step_graphs",
    "g2rpo_env.agents.strategies": "g2rpo_env.agents.parts.strategies.reroll",
    "g2rpo_env.agents.token_weights": "g2rpo_env.agents.parts.token_weights.means",
    "g2rpo_env.agents.truncation": "g2rpo_env.agents.policy.sampling",
    "g2rpo_env.assignment": "g2rpo_env.reveal.assignment",
    "g2rpo_env.cli.arms": "g2rpo_env.experiments.arms",
    "g2rpo_env.controller": "g2rpo_env.controllers.rules",
    "g2rpo_env.failures": "g2rpo_env.controllers.on_failure",
    "g2rpo_env.memory": "g2rpo_env.controllers.per_problem",
    "g2rpo_env.placement": "g2rpo_env.reveal.placement",
    "g2rpo_env.schedules": "g2rpo_env.controllers.schedules",
    "g2rpo_env.selftuning": "g2rpo_env.controllers.self_tuning",
}
"""Former module -> where what it held lies now, or most of it; what older checkpoints and studies name."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: the nearest known one, or nothing.

    >>> suggest("log_prob", ["entropy", "log_probs"]), suggest("zzz", ["entropy"])
    ("; did you mean 'log_probs'?", '')
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def load_object(name: str, argument: str) -> Any:
    """Return the object that ``"module:Name"`` names; this imports the module.

    Args:
        name: The name; ``Name`` may have dots, for a class inside another one.
        argument: What messages call it.

    Raises:
        ConfigurationError: it has another form, or cannot be imported.

    >>> load_object("g2rpo_env.errors:ConfigurationError", "kind") is ConfigurationError
    True
    """
    module, _, attribute = name.partition(":")
    if LOCAL in attribute:
        raise ConfigurationError(
            f"{argument}={name!r} must stand at the top of a module: it was defined inside a function, and is not found"
        )
    if not all(word.isidentifier() for word in (*module.split("."), *attribute.split("."))):
        raise ConfigurationError(f"{argument}={name!r} must have the form module:Name")
    try:
        return operator.attrgetter(attribute)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        rule = f"{argument}={name!r} must name something that can be imported: {error}"
        raise ConfigurationError(f"{rule}; {_where(module)}") from error


def _where(module: str) -> str:
    """Return where a module was looked for, for messages."""
    found = sys.modules.get(module)
    if found is None:
        return f"looked in {', '.join(repr(folder or os.getcwd()) for folder in sys.path[:3])} and the rest of sys.path"
    file = getattr(found, "__file__", None)
    place = f"looked in {file}" if file else "it has no file"
    return place + ("; __main__ is the program that runs, not the one that saved the name" * (module == "__main__"))


def explain_unfindable(name: str) -> str | None:
    """Return why another program will not find what is saved as ``"module:Name"``; None where it may.

    >>> explain_unfindable("__main__:MyLoss")
    'it is defined in the program that runs, __main__: put it into a module of its own, and import it'
    >>> explain_unfindable("my_parts:MyLoss") is None
    True
    """
    if LOCAL in name:
        return "it is defined inside a function: put it at the top of a module"
    if name.startswith("__main__:"):
        return "it is defined in the program that runs, __main__: put it into a module of its own, and import it"
    return None


def public_classes(modules: Sequence[str]) -> dict[str, type]:
    """Return name -> class for the classes that modules offer: those in ``__all__``, or without it those they define.

    Args:
        modules: Names of the modules, which are imported.
    """
    found: dict[str, type] = {}
    for module in modules:
        names = vars(importlib.import_module(module))
        kinds = {name: value for name, value in names.items() if isinstance(value, type)}
        own = [name for name, kind in kinds.items() if kind.__module__ == module]
        found.update({name: kinds[name] for name in names.get("__all__", own) if name in kinds})
    return found


def public_name(kind: type, modules: Sequence[str]) -> str:
    """Return the name that a class is saved under: its own if one of the modules offers it, else ``"module:Name"``.

    Args:
        kind: The class.
        modules: Names of the modules that offer parts.

    >>> from g2rpo_env.controllers.rules import TargetSuccess
    >>> public_name(TargetSuccess, [CONTROLLERS]), public_name(ConfigurationError, [CONTROLLERS])
    ('TargetSuccess', 'g2rpo_env.errors:ConfigurationError')
    """
    is_public = public_classes(modules).get(kind.__name__) is kind
    return kind.__name__ if is_public else f"{kind.__module__}:{kind.__qualname__}"


def find_class(name: str, modules: Sequence[str], argument: str) -> Any:
    """Return the class that was saved under a name, see :func:`public_name`.

    Args:
        name: A public name, ``"module:Name"``, or the path under which an earlier version saved a part.
        modules: Names of the modules that offer parts.
        argument: What messages call it.

    Raises:
        ConfigurationError: no part has that name; the message has the nearest one. Or the class cannot be imported.

    >>> find_class("TargetSuccess", [CONTROLLERS], "controller").__name__
    'TargetSuccess'
    >>> find_class("g2rpo_env.controller:TargetSuccess", [CONTROLLERS], "controller").__name__
    'TargetSuccess'
    >>> find_class("TargetSucces", [CONTROLLERS], "controller")
    Traceback (most recent call last):
    ...
    g2rpo_env.errors.ConfigurationError: controller='TargetSucces' must be a public name; did you mean 'TargetSuccess'?
    """
    module, colon, attribute = name.partition(":")
    if colon and module not in MOVED_MODULES:  # of a former path the name of the class counts alone
        return load_object(name, argument)
    known, wanted = public_classes(modules), attribute if colon else name
    if wanted in known:
        return known[wanted]
    offered = f"; they are the classes of {' and '.join(modules)}; a class of yours is named module:Name"
    raise ConfigurationError(f"{argument}={name!r} must be a public name{suggest(wanted, known) or offered}")
