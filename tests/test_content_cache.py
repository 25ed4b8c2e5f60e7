import hashlib
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attribot.content_cache import ContentCache, content_key
from attribot.errors import InvalidInputError, RecordsError

WRITER = """
import sys
from attribot.content_cache import ContentCache
with ContentCache(sys.argv[1]) as cache:
    for number in range(40):
        cache.put({"writer": sys.argv[2], "number": number}, number)
        cache.put({"shared": number}, [number])
"""


def test_key_is_the_hash_of_canonical_json() -> None:
    expected = hashlib.sha256(b'{"a":{"x":1.5,"y":[1,"\\u00e9"]},"b":null}').hexdigest()
    assert content_key({"b": None, "a": {"y": [1, "é"], "x": 1.5}}) == expected


def test_values_return_exactly() -> None:
    value = {"text": "naïve\n\u2603", "numbers": [0.1 + 0.2, -1e-308, 7], "flag": False}
    with ContentCache() as cache:
        cache.put({"a": 1, "b": 2}, value)
        assert cache.get({"b": 2, "a": 1}) == value


def test_any_other_part_is_another_key() -> None:
    with ContentCache() as cache:
        cache.put({"a": 1, "b": 2}, "value")
        assert [cache.get(key) for key in ({"a": 1}, {"a": 1, "b": 3}, {"a": "1", "b": 2})] == [
            None,
            None,
            None,
        ]


def test_a_value_is_replaced() -> None:
    with ContentCache() as cache:
        cache.put({"a": 1}, "old")
        cache.put({"a": 1}, "new")
        assert cache.get({"a": 1}) == "new"


def test_values_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "below" / "cache.sqlite"
    with ContentCache(path) as cache:
        cache.put({"a": 1}, [1.5])
    with ContentCache(path) as cache:
        assert cache.get({"a": 1}) == [1.5]


def test_memory_caches_are_separate() -> None:
    with ContentCache() as one, ContentCache() as other:
        one.put({"a": 1}, 1)
        assert other.get({"a": 1}) is None


def test_threads_share_one_cache(tmp_path: Path) -> None:
    with ContentCache(tmp_path / "cache.sqlite") as cache, ThreadPoolExecutor(7) as pool:
        list(pool.map(lambda number: cache.put({"number": number}, number), range(101)))
        assert [cache.get({"number": number}) for number in range(101)] == list(range(101))


@pytest.mark.slow
def test_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    with ContentCache(path) as cache:
        for name in "abc":
            found = [cache.get({"writer": name, "number": number}) for number in range(40)]
            assert found == list(range(40))
        assert [cache.get({"shared": number}) for number in range(40)] == [[n] for n in range(40)]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database " * 100)
    with pytest.raises(RecordsError, match=r"cache\.sqlite.*not a database.*delete the file"):
        ContentCache(path)


def test_a_path_that_cannot_hold_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="unable to open"):
        ContentCache(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordsError, match="cannot use the cache"):
        ContentCache(tmp_path / "file" / "cache.sqlite")


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, object()])
def test_what_json_cannot_express_is_refused(value: object) -> None:
    with ContentCache() as cache:
        with pytest.raises(InvalidInputError, match="plain JSON values"):
            cache.put({"a": 1}, value)
        with pytest.raises(InvalidInputError, match="plain JSON values"):
            cache.get({"a": value})


def test_none_is_no_value() -> None:
    with ContentCache() as cache, pytest.raises(InvalidInputError, match="absent"):
        cache.put({"a": 1}, None)
