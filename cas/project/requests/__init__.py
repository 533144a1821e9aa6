"""The requests in pyproject.toml: ``[tool.cas]`` read strictly, written with a person's care.

``settings`` bytes → what they say · ``document`` the text with requests changed ·
``entries`` the text with an entry of another table changed · ``marks`` a tree marked bad
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.project.requests.document import edit
    from cas.project.requests.entries import edit_entry
    from cas.project.requests.marks import edit_bad
    from cas.project.requests.settings import Settings, parse_settings, shared_names

__all__ = ["Settings", "edit", "edit_bad", "edit_entry", "parse_settings", "shared_names"]

open_rooms(
    __name__,
    document="edit",
    entries="edit_entry",
    marks="edit_bad",
    settings="Settings parse_settings shared_names",
)
