"""Report: all experiments of a project and what they were made of, as one HTML file.

The file asks for nothing from elsewhere (its own policy forbids it), so it can be sent, put on
a web server, or opened from a disk. It holds a leaderboard, each run with its curves, compared
runs, the assets with what made and used them, and lineage drawn.

``collect`` the project → a document · ``curves`` columns of results → figures and thinned
curves · ``packed`` lists without what repeats · ``page`` document + page.css + *.js → HTML

The document holds only numbers, texts and lists, and the scripts make elements and text nodes
of them, never markup: a name can't become code.
"""

from cas.report.collect import collect
from cas.report.page import page
from cas.report.write import Written, report

__all__ = ["Written", "collect", "page", "report"]
