"""The installer: from assets.lock to trees in the store and views under ``assets/``.

Every step is safe to repeat and the views move last. Nothing here writes the lockfile.

``bring`` bytes of one asset into the store · ``local`` files of this machine into the store ·
``remotes`` as sources · ``push`` trees to a remote · ``drop`` what others have ·
``far`` how remotes stand · ``exchange`` experiments that travel · ``kept`` what they name beside
trees · ``pull`` the walk ·
``step`` whether requests and pins agree · ``link`` switches views ·
``care`` verify, gc · ``repairing`` what verify found · ``hand`` edit, export ·
``whole`` the store as a whole · ``why`` who refers to what
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.installer.bring import Bringer
    from cas.installer.care import collect_garbage, verify_assets, verify_json
    from cas.installer.drop import drop
    from cas.installer.exchange import pull_experiments, push_experiments
    from cas.installer.far import holders, verify_remote
    from cas.installer.hand import edit, export
    from cas.installer.link import link_views, unlink_view
    from cas.installer.local import check_source, import_path
    from cas.installer.origin import origin_of
    from cas.installer.pull import Pulled, pull
    from cas.installer.push import Pushed, push
    from cas.installer.step import check_in_step, out_of_step
    from cas.installer.whole import move_store, remove_store
    from cas.installer.why import why

__all__ = [
    "Bringer",
    "Pulled",
    "Pushed",
    "check_in_step",
    "check_source",
    "collect_garbage",
    "drop",
    "edit",
    "export",
    "holders",
    "import_path",
    "link_views",
    "move_store",
    "origin_of",
    "out_of_step",
    "pull",
    "pull_experiments",
    "push",
    "push_experiments",
    "remove_store",
    "unlink_view",
    "verify_assets",
    "verify_json",
    "verify_remote",
    "why",
]

open_rooms(
    __name__,
    bring="Bringer",
    care="collect_garbage verify_assets verify_json",
    drop="drop",
    exchange="pull_experiments push_experiments",
    far="holders verify_remote",
    hand="edit export",
    link="link_views unlink_view",
    local="check_source import_path",
    origin="origin_of",
    pull="Pulled pull",
    push="Pushed push",
    step="check_in_step out_of_step",
    whole="move_store remove_store",
    why="why",
)
