"""Names: what "module:Name", a public name and an earlier path stand for, and what is said of one that is unknown."""

import collections
import json
import os
import sys
from collections import OrderedDict
from pathlib import Path

import pytest

from g2rpo_env.controllers import TargetSuccess
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import (
    CONTROLLERS,
    MOVED_MODULES,
    explain_unfindable,
    find_class,
    load_object,
    public_classes,
    public_name,
)


class Outer:
    """A class of the user's."""

    class Inner:
        """One inside another."""


# -- module:Name ------------------------------------------------------------------------------------------------------


def test_a_class_is_loaded_by_its_module_and_its_name() -> None:
    assert load_object("collections:OrderedDict", "task") is OrderedDict
    assert load_object("json.decoder:JSONDecoder.decode", "task") is json.JSONDecoder.decode


@pytest.mark.parametrize(
    "name", ["", ":", "collections", "collections:", ":OrderedDict", ".naming:load_object", "a:b c"]
)
def test_another_form_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_object(name, "task")
    assert str(caught.value) == f"task={name!r} must have the form module:Name"


def test_a_class_inside_a_function_is_refused() -> None:
    class Local:
        pass

    name = public_name(Local, [CONTROLLERS])
    with pytest.raises(ConfigurationError, match="must stand at the top of a module: it was defined inside a function"):
        load_object(name, "rule")
    assert explain_unfindable(name) == "it is defined inside a function: put it at the top of a module"


def test_a_name_of_the_program_that_runs_is_found_by_no_other_one() -> None:
    assert "put it into a module of its own" in (explain_unfindable("__main__:Mine") or "")
    assert explain_unfindable("TargetSuccess") is explain_unfindable("my_main:Mine") is None
    with pytest.raises(
        ConfigurationError, match="loss='__main__:Mine' .* has no attribute 'Mine'; .*; __main__ is the"
    ):
        load_object("__main__:Mine", "loss")


@pytest.mark.parametrize(
    "name,why",
    [
        ("no_such_module:Agent", f"No module named 'no_such_module'; looked in {(sys.path[0] or os.getcwd())!r}, "),
        (
            "collections:NoSuchName",
            f"module 'collections' has no attribute 'NoSuchName'; looked in {collections.__file__}",
        ),
    ],
)
def test_what_cannot_be_imported_is_said(name: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_object(name, "algorithm")
    assert str(caught.value).startswith(f"algorithm={name!r} must name something that can be imported: {why}")


# -- public names -----------------------------------------------------------------------------------------------------


def test_a_module_offers_the_classes_of_its_all_and_without_it_those_it_defines() -> None:
    import g2rpo_env.controllers
    from g2rpo_env.controllers import rules

    kinds = public_classes([CONTROLLERS])
    assert set(kinds) == set(g2rpo_env.controllers.__all__) - {"simulate_controller"}
    assert not hasattr(rules, "__all__")
    assert set(public_classes([rules.__name__])) == {
        "FixedGuidance", "AdaptiveGuidance", "OfficialCadence", "TargetSuccess", "Withheld",
    }  # fmt: skip
    assert public_classes([CONTROLLERS, rules.__name__]) == kinds


def test_a_class_is_saved_by_its_name_where_a_module_offers_it_and_by_its_module_elsewhere() -> None:
    assert public_name(TargetSuccess, [CONTROLLERS]) == "TargetSuccess"
    assert public_name(TargetSuccess, ["g2rpo_env.errors"]) == "g2rpo_env.controllers.rules:TargetSuccess"
    assert public_name(Outer.Inner, [CONTROLLERS]) == f"{__name__}:Outer.Inner"


def test_a_class_of_the_users_with_the_name_of_a_public_one_is_not_taken_for_it() -> None:
    own = type("TargetSuccess", (), {"__module__": "my_rules"})
    assert public_name(own, [CONTROLLERS]) == "my_rules:TargetSuccess"


def test_every_form_of_a_name_is_found() -> None:
    for name in ("TargetSuccess", "g2rpo_env.controller:TargetSuccess", "g2rpo_env.controllers.rules:TargetSuccess"):
        assert find_class(name, [CONTROLLERS], "rule") is TargetSuccess
    assert find_class("collections:OrderedDict", [CONTROLLERS], "rule") is OrderedDict


@pytest.mark.parametrize("name", ["TargetSucess", "g2rpo_env.controller:TargetSucess"])
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_class(name, [CONTROLLERS], "controller")
    assert str(caught.value) == f"controller={name!r} must be a public name; did you mean 'TargetSuccess'?"


def test_an_unknown_name_like_no_other_is_refused_with_where_names_come_from() -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_class("Zzz", [CONTROLLERS, "g2rpo_env.curriculum"], "controller")
    assert str(caught.value) == (
        "controller='Zzz' must be a public name; they are the classes of g2rpo_env.controllers and "
        "g2rpo_env.curriculum; a class of yours is named module:Name"
    )


def test_former_modules_are_those_of_the_saved_files() -> None:
    # A file written before parts had public names, see tests/test_old_files.py.
    text = (Path(__file__).parent / "fixtures/5ebc9d2/configs.json").read_text()
    paths = [part.split('"')[0] for part in text.split('"class": "')[1:]]
    former = {path.split(":")[0] for path in paths}
    assert len(former) == 14 and former - set(MOVED_MODULES) == {"g2rpo_env.agents.recipes"}  # holds Optimizer still
