"""Write plain values as YAML that reads back as the same, laid out for people."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from ..templates.template import Column, LiteralText
from .yaml_reader import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = "tag:yaml.org,2002:str"
_BARE = re.compile(r"[A-Za-z_/.](?:[\w ,./()+-]*[\w./)])?", re.ASCII)
_BLOCK_LINE = re.compile(r"\S(?:.*\S)?|")


class _Representer(SafeRepresenter):
    """Chooses how each text is written; the library writes it."""

    def represent_text(self, text: str) -> Any:
        """Return a text of several lines as a block, where it can stand as it is."""
        return self.represent_scalar(_TEXT, text, style="|") if _is_block(text) else self.represent_key(text)

    def represent_key(self, data: Any) -> Any:
        """Return a text without quotes only where nobody reads it as anything else."""
        is_bare = _BARE.fullmatch(str(data)) and is_text(str(data))
        return self.represent_scalar(_TEXT, str(data), style=None if is_bare else '"')

    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands at two places twice."""
        return True


_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(Column, lambda self, column: self.represent_scalar("!col", column.name, style='"'))
_Representer.add_representer(LiteralText, lambda self, each: self.represent_scalar("!literal", each.text, style='"'))


def write(value: Mapping[str, Any]) -> str:
    """Return a mapping as YAML text, its keys in their order."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 2**20
    yaml.indent(mapping=2, sequence=4, offset=2)
    written = StringIO()
    yaml.dump(value, written)
    return written.getvalue()


def _is_block(text: str) -> bool:
    """Check whether a text of several lines can stand as it is."""
    lines = text.removesuffix("\n").split("\n")
    plain = all(line.isprintable() and _BLOCK_LINE.fullmatch(line) for line in lines)
    return len(lines) > 1 and plain and bool(lines[0] and lines[-1])
