"""What every store must do. A store's test file subclasses StoreContract."""

import uuid
from collections.abc import Callable

import pytest

from cachecore.stores.base import Found, Store


class StoreContract:
    """Subclass it, and give the fixture ``store`` and ``let_pass``."""

    @pytest.fixture
    def name(self) -> str:
        """Names of its own for each test: a real server is shared."""
        return f"dify:cache:v1:test-{uuid.uuid4().hex}"

    def test_an_absent_key_is_none_and_so_is_an_absent_field(
        self, store: Store, name: str
    ) -> None:
        assert store.look_up(name, name + ":h", ["a", "b"]) == Found(None, (None, None))

    def test_what_is_kept_is_found_byte_for_byte(self, store: Store, name: str) -> None:
        value = bytes(range(256)) * 10
        store.keep(name, value, 60)
        assert store.look_up(name, name + ":h", ["a"]).value == value

    def test_keeping_again_replaces(self, store: Store, name: str) -> None:
        store.keep(name, b"old", 60)
        store.keep(name, b"new", 60)
        assert store.look_up(name, name + ":h", ["a"]).value == b"new"

    def test_an_entry_is_gone_after_its_time(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        store.keep(name, b"x", 0.05)
        let_pass(0.1)
        assert store.look_up(name, name + ":h", ["a"]).value is None

    def test_deleting_removes_and_an_absent_key_is_no_error(
        self, store: Store, name: str
    ) -> None:
        store.keep(name, b"x", 60)
        store.delete(name)
        store.delete(name)
        assert store.look_up(name, name + ":h", ["a"]).value is None

    def test_settling_sets_what_is_absent_and_returns_what_stands(
        self, store: Store, name: str
    ) -> None:
        assert store.settle(name, {"a": "1"}) == {"a": "1"}
        assert store.settle(name, {"a": "2", "b": "3"}) == {"a": "1", "b": "3"}

    def test_replacing_overwrites_and_leaves_other_fields(
        self, store: Store, name: str
    ) -> None:
        store.settle(name, {"a": "1", "b": "2"})
        store.replace(name, {"a": "9", "c": "3"})
        assert store.look_up("x" + name, name, ["a", "b", "c"]).fields == (
            "9",
            "2",
            "3",
        )

    def test_text_of_any_language_survives(self, store: Store, name: str) -> None:
        store.replace(name, {"标签": "印记 ✓"})
        assert store.look_up("x" + name, name, ["标签"]).fields == ("印记 ✓",)

    def test_a_check_leaves_nothing_behind(self, store: Store, name: str) -> None:
        store.check(name, name + ":h")
        assert store.look_up(name, name + ":h", ["switch"]) == Found(None, (None,))
