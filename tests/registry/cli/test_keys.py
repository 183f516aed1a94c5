"""`waypost keys`."""

import stat
from pathlib import Path

from registry.addresses import decode_account, decode_node
from registry.keystore import ROLES, derive, load_seed
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import save_keys, seed_of


def test_new_makes_a_private_file_and_says_what_it_is_worth(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "node.json"
    result = call("keys", "new", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "INSECURE" in result.stderr
    assert "development" in result.stderr
    seed = load_seed(file)
    assert seed.hex() not in result.output
    assert derive(seed, "duty").public.hex() in result.stdout


def test_two_files_have_two_seeds(tmp_path: Path) -> None:
    call("keys", "new", tmp_path / "a")
    call("keys", "new", tmp_path / "b")
    assert load_seed(tmp_path / "a") != load_seed(tmp_path / "b")


def test_new_never_overwrites(tmp_path: Path) -> None:
    file = save_keys(tmp_path, "alice")
    assert error_of(call("keys", "new", file, code=1)) == "bad_key_file"
    assert load_seed(file) == seed_of("alice")


def test_show_gives_what_is_public_of_each_role(tmp_path: Path) -> None:
    file = save_keys(tmp_path, "alice")
    shown = call_json("keys", "show", file)
    assert decode_account(shown["account"]) == derive(seed_of("alice"), "account").public
    assert decode_node(shown["node"]) == derive(seed_of("alice"), "node").public
    for role in ("duty", "list", "consensus", "producer"):
        assert shown[role] == derive(seed_of("alice"), role).public.hex()
    assert set(shown) == {"file", "insecure", *ROLES}
    text = call("keys", "show", file).output
    assert shown["account"] in text
    assert seed_of("alice").hex() not in text
    assert all(derive(seed_of("alice"), role).secret[:32].hex() not in text for role in ROLES)


def test_show_refuses_what_is_no_private_key_file(tmp_path: Path) -> None:
    file = save_keys(tmp_path, "alice")
    file.chmod(0o644)
    (tmp_path / "junk").write_text("{}")
    for path in (file, tmp_path / "junk", tmp_path / "missing"):
        assert error_of(call("keys", "show", path, code=1)) == "bad_key_file"
