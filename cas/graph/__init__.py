"""The graph: which trees and experiments were made of which.

Its nodes are trees and experiments. Its edges are what derived assets were built of (the locks
of all projects that share the store, and the sidecars of its trees), and what experiments
used and made.

``known`` what is known of trees · ``records`` what experiments used and made · ``walk`` up and
down from one node · ``ask`` one SELECT over all of it · ``stale`` experiments whose assets moved
on · ``taint`` what is made of assets that are marked bad · ``pair`` two experiments compared ·
``draw`` a lineage as a tree, as Mermaid, as SVG
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.graph.ask import query
    from cas.graph.draw import as_mermaid, as_svg, as_tree, plain
    from cas.graph.known import asset_rows, edge_rows
    from cas.graph.pair import compare, packages_of
    from cas.graph.stale import stale
    from cas.graph.taint import Taint, tainted
    from cas.graph.walk import lineage, tree_of_word

__all__ = [
    "Taint",
    "as_mermaid",
    "as_svg",
    "as_tree",
    "asset_rows",
    "compare",
    "edge_rows",
    "lineage",
    "packages_of",
    "plain",
    "query",
    "stale",
    "tainted",
    "tree_of_word",
]

open_rooms(
    __name__,
    ask="query",
    draw="as_mermaid as_svg as_tree plain",
    known="asset_rows edge_rows",
    pair="compare packages_of",
    stale="stale",
    taint="Taint tainted",
    walk="lineage tree_of_word",
)
