"""Tables that `print_table` draws (parity row D-55)."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ("Table", "TablePrinter")

# A value that is no dict shows in a column of this name.
_SCALAR_COLUMN = "0"
_CLEAR_SCREEN = "\x1b[2J\x1b[H"


class Table:
    """The last rows of one place in a pipeline."""

    def __init__(
        self,
        size: int,
        title: str | None,
        timeout: float,
        columns: list[str] | None,
        column_widths: dict[str, int] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if size < 1:
            raise ValueError(f"a table's size must be at least 1, not {size}")
        self._rows: deque[dict[str, str]] = deque(maxlen=size)
        self._title = title
        self._timeout = timeout
        self._columns = [] if columns is None else list(columns)
        self._grows = columns is None
        self._widths = column_widths or {}
        self._clock = clock
        self._since = clock()
        self.changed = False

    def add(self, value: Any, metadata: tuple[Any, int] | None = None) -> None:
        """Adds a record's value, with its key and timestamp in front if they are given."""
        row = dict(value) if isinstance(value, dict) else {_SCALAR_COLUMN: value}
        if metadata is not None:
            row = {"_key": metadata[0], "_timestamp": metadata[1], **row}
        if self._grows:
            self._columns.extend(column for column in row if column not in self._columns)
        self._rows.append({str(column): str(row.get(column, "")) for column in self._columns})
        self.changed = True

    @property
    def due(self) -> bool:
        """Whether a table that is not drawn live is to be printed: it is full, or old."""
        return bool(self._rows) and (
            len(self._rows) == self._rows.maxlen or self._clock() - self._since > self._timeout
        )

    @property
    def waits(self) -> float | None:
        """Seconds until its rows are old; `None` without rows."""
        return max(0.0, self._since + self._timeout - self._clock()) if self._rows else None

    def clear(self) -> None:
        """Throws the rows away."""
        self._rows.clear()
        self._since = self._clock()
        self.changed = False

    def render(self) -> str:
        """The table as text; empty without rows or columns.

        >>> table = Table(size=2, title="Rides", timeout=5, columns=None, column_widths=None)
        >>> table.add({"city": "Chur", "fare": 9.5})
        >>> print(table.render(), end="")
        Rides
        ┌──────┬──────┐
        │ city │ fare │
        ├──────┼──────┤
        │ Chur │ 9.5  │
        └──────┴──────┘
        """
        self.changed = False
        if not self._rows or not self._columns:
            return ""
        names = [str(column) for column in self._columns]
        # Rows from before a column showed up have no cell for it.
        cells = [[row.get(name, "") for name in names] for row in self._rows]
        widths = [
            self._widths.get(name) or max(len(name), *(len(row[n]) for row in cells)) for n, name in enumerate(names)
        ]

        def rule(left: str, middle: str, right: str) -> str:
            return left + middle.join("─" * (width + 2) for width in widths) + right

        def line(texts: list[str]) -> str:
            return "│" + "│".join(f" {_fit(text, width)} " for text, width in zip(texts, widths, strict=True)) + "│"

        lines = [rule("┌", "┬", "┐"), line(names), rule("├", "┼", "┤"), *map(line, cells), rule("└", "┴", "┘")]
        if self._title:
            lines.insert(0, self._title)
        return "\n".join(lines) + "\n"


def _fit(text: str, width: int) -> str:
    text = text.replace("\n", " ")
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


class TablePrinter:
    """Draws the tables of one application, in the order they were defined.

    On a terminal (`live`) all tables are redrawn when one of them has a new row. Elsewhere a table is printed and
    emptied when it is full or old; a timer sees to the latter when no record arrives.
    """

    def __init__(self) -> None:
        self._tables: list[Table] = []
        self._live = True
        self._slowdown = 0.5
        # The timer's thread and the one that processes records print the same tables.
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def active(self) -> bool:
        """Whether there are tables."""
        return bool(self._tables)

    def add_table(
        self,
        size: int,
        title: str | None,
        timeout: float,
        live: bool,
        live_slowdown: float,
        columns: list[str] | None,
        column_widths: dict[str, int] | None,
    ) -> Table:
        """Makes a table. One that is not live makes all of them so."""
        self._live = self._live and live
        self._slowdown = max(0.0, live_slowdown)
        table = Table(size, title, timeout, columns, column_widths)
        self._tables.append(table)
        return table

    def add_row(self, table: Table, value: Any, metadata: tuple[Any, int] | None) -> None:
        """Adds a row to one of the tables."""
        with self._lock:
            table.add(value, metadata)

    def refresh(self) -> None:
        """Prints what is due; called after each message."""
        if self._live and sys.stdout.isatty():
            self._draw()
        else:
            with self._lock:
                self._print_due()
                self._arm()

    def finish(self) -> None:
        """Prints what is left, at the end of a run."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not (self._live and sys.stdout.isatty()):
                for table in self._tables:
                    self._print(table)

    def _draw(self) -> None:
        with self._lock:
            if not any(table.changed for table in self._tables):
                return
            height = shutil.get_terminal_size().lines
            text = "".join(table.render() for table in self._tables)
            sys.stdout.write(_CLEAR_SCREEN + "".join(text.splitlines(keepends=True)[:height]))
            sys.stdout.flush()
        time.sleep(self._slowdown)

    def _print_due(self) -> None:
        for table in self._tables:
            if table.due:
                self._print(table)

    @staticmethod
    def _print(table: Table) -> None:
        sys.stdout.write(table.render())
        sys.stdout.flush()
        table.clear()

    def _arm(self) -> None:
        """Sets the timer for the table that gets old first."""
        waits = [wait for table in self._tables if (wait := table.waits) is not None]
        if self._timer is None and waits:
            self._timer = threading.Timer(min(waits) + 0.01, self._timed)
            self._timer.daemon = True
            self._timer.start()

    def _timed(self) -> None:
        with self._lock:
            self._timer = None
            self._print_due()
            self._arm()
