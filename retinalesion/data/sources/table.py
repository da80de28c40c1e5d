"""Tables of published sets and spreadsheets: BOM, CRLF, stray spaces and empty columns do not matter."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retinalesion.errors import UserError
from retinalesion.lesions import GRADES, NO_GRADE, NO_OEDEMA

_BYTE_LIMIT = 256 << 20


@dataclass(frozen=True)
class Line:
    """One line of a table, for cells and for messages that name it.

    Attributes:
        path: of the table.
        number: of the line, as an editor counts.
        cells: text without surrounding spaces, by column name.
    """

    path: Path
    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def wrong(self, what: str) -> UserError:
        """An error that names file and line."""
        return UserError(f"{self.path}, line {self.number}: {what}")

    def grade(self, column: str) -> int:
        """A grade: 0 to 4 or DR0 to DR4; -1 where the cell is empty.

        Raises:
            UserError: anything else.
        """
        text = self[column].upper().removeprefix("DR").removesuffix(".0")
        if not self[column]:
            return NO_GRADE
        if text not in {"0", "1", "2", "3", "4"}:
            raise self.wrong(
                f"grade {self[column]!r} is not one of 0 to 4 or {GRADES[0]} to {GRADES[-1]}. "
                "Correct it, or leave the cell empty where there is no grade."
            )
        return int(text)

    def oedema(self, column: str) -> int:
        """A risk of macular oedema: 0, 1 or 2; -1 where the cell is empty.

        Raises:
            UserError: anything else.
        """
        if not self[column]:
            return NO_OEDEMA
        text = self[column].removesuffix(".0")
        if text not in {"0", "1", "2"}:
            raise self.wrong(
                f"risk of macular oedema {self[column]!r} in column {column!r} is not one of 0, 1, 2. "
                "Correct it, or leave the cell empty where nobody said."
            )
        return int(text)

    def number_in(self, column: str) -> float:
        """A finite number.

        Raises:
            UserError: not a number.
        """
        try:
            value = float(self[column])
        except ValueError as error:
            raise self.wrong(f"{self[column]!r} in column {column!r} is not a number.") from error
        if not abs(value) < float("inf"):
            raise self.wrong(f"{self[column]!r} in column {column!r} is not a finite number.")
        return value


@dataclass(frozen=True)
class Table:
    """A table read wholly. Column names are case-folded, with single spaces."""

    path: Path
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def require(self, *columns: str) -> "Table":
        """Itself, if it has these columns.

        Raises:
            UserError: one is missing.
        """
        if missing := [column for column in columns if column not in self.columns]:
            raise UserError(
                f"{self.path}: no column {', '.join(map(repr, missing))}. "
                f"The first line names: {', '.join(self.columns)}."
            )
        return self


def read_text(path: Path) -> str:
    """The text of a table.

    Raises:
        UserError: not readable, not UTF-8, or too large.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise UserError(f"{path}: is no file. Put the table there.")
        if path.stat().st_size > _BYTE_LIMIT:
            raise UserError(f"{path}: larger than {_BYTE_LIMIT >> 20} MiB; that is no table of photographs.")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text. Save it as 'CSV UTF-8' in the spreadsheet.") from error


def read_table(path: Path) -> Table:
    """A CSV file, separated by comma, semicolon or tab, with column names in its first line.

    Columns without a name and blank lines are left out.

    Raises:
        UserError: not readable, not UTF-8, too large, without a header, or a line has more cells than that.
    """
    text = read_text(path)
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [" ".join(name.split()).casefold() for name in next(rows, [])]
        columns = tuple(name for name in names if name)
        if not columns:
            raise UserError(f"{path}: the first line names no column.")
        if len(set(columns)) < len(columns):
            raise UserError(f"{path}: two columns bear the same name. Rename or delete one.")
        lines = []
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            line = Line(path, rows.line_num, dict(zip(names, cells + [""] * len(names), strict=False)))
            if any(cells[len(names) :]):
                raise line.wrong(
                    f"{len(cells)} cells, but the first line names {len(names)}. "
                    "Put a cell that holds the separator in double quotes."
                )
            lines.append(line)
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not a CSV line ({error}).") from error
    return Table(path, columns, tuple(lines))
