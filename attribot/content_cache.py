"""Values on disk under the hash of everything they depend on: responses, exact reference scores."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from attribot.errors import InvalidInputError, RecordsError

_LOCK_WAIT_SECONDS = 60.0


def content_key(key_parts: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of `key_parts`; the order of its keys does not matter.

    Raises:
        InvalidInputError: `key_parts` holds something that JSON cannot express exactly.
    """
    return hashlib.sha256(_json(key_parts).encode()).hexdigest()


class ContentCache:
    """A store of JSON values, safe for threads and processes (SQLite in WAL mode).

    Two writers of one key write the same value, since the key holds all that it depends on.

    path: of the database file, made where absent; None keeps everything in memory.

    Raises:
        RecordsError: the file is no such store, is damaged or cannot be written.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self._lock = threading.Lock()
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path or ":memory:",
                timeout=_LOCK_WAIT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._execute("PRAGMA journal_mode=WAL")
            self._execute(
                "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
            )
        except RecordsError:
            self._connection.close()
            raise

    def get(self, key_parts: Mapping[str, Any]) -> Any:
        """The value stored under `key_parts`; None where there is none."""
        rows = self._execute("SELECT value FROM entries WHERE key = ?", content_key(key_parts))
        return json.loads(rows[0][0]) if rows else None

    def put(self, key_parts: Mapping[str, Any], value: Any) -> None:
        """Stores a JSON value; on disk when this returns.

        Raises:
            InvalidInputError: the value is None or nothing that JSON can express exactly.
        """
        if value is None:
            raise InvalidInputError("None stands for an absent value and cannot be stored")
        key = content_key(key_parts)
        self._execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", key, _json(value))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> ContentCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _execute(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> RecordsError:
        return RecordsError(
            f"cannot use the cache {self.path or 'in memory'}: {error}. Expected a writable cache "
            f"file of attribot or a free path: delete the file (its values are computed again) or "
            f"name another"
        )


def _json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"expected plain JSON values (finite numbers, text, lists, mappings); {error}"
        ) from error
