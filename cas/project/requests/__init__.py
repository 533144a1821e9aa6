"""The requests in pyproject.toml: ``[tool.cas]`` read strictly, written with a person's care.

``settings`` bytes → what they say · ``document`` the text with requests changed ·
``marks`` the text with a tree marked bad
"""

from cas.project.requests.document import edit
from cas.project.requests.marks import edit_bad
from cas.project.requests.settings import Settings, parse_settings

__all__ = ["Settings", "edit", "edit_bad", "parse_settings"]
