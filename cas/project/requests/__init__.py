"""The requests in pyproject.toml: ``[tool.cas]`` read strictly, written with a person's care.

``settings`` bytes → what they say · ``document`` the text with requests changed
"""

from cas.project.requests.document import edit
from cas.project.requests.settings import Settings, parse_settings

__all__ = ["Settings", "edit", "parse_settings"]
