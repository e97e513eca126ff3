"""Tables: rows out of any of them, a table of the same kind back, and files. Only here are pandas and pyarrow known."""

from __future__ import annotations

from .files import read_table
from .opening import view
from .pandas_view import frame
from .views import TableView
from .writing import check_output, write_table, write_text

__all__ = ["TableView", "check_output", "frame", "read_table", "view", "write_table", "write_text"]
