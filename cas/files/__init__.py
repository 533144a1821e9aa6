"""Files that change all at once or not at all, and what waits for what.

Every final name in cas is made by this room: bytes go to a temporary name on the same file
system, are synced, and are renamed or linked. A reader sees the old file or the new one; a
crash leaves a temporary name, ``.cas-<host>-<pid>-<random>``, that says whose it was.
Calls that only Linux has (``syncfs``, reflink, ``sync_file_range``, ``renameat2``) have their
portable way beside them, here and nowhere else.

``names`` whose a temporary file is · ``sync`` durability · ``write`` names that appear whole ·
``plain`` small files that others may have put there · ``copies`` shared blocks or bytes ·
``mutex`` what waits for what · ``probe`` what can be kept where
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.files.copies import copy_file, copy_range, reflink, reflink_fd
    from cas.files.mutex import file_system, hold, locks_hold
    from cas.files.names import (
        PREFIX,
        discard,
        host,
        is_temporary,
        remove_tree,
        sweep,
        temporary_name,
        writer_is_alive,
        writer_is_dead,
    )
    from cas.files.plain import read_plain
    from cas.files.probe import folds_case, kept_mode
    from cas.files.sync import FSYNC_MANY, fsync_dir, named, start_writeback, sync_all, sync_open
    from cas.files.write import (
        NO_LINKS,
        exchange,
        make_dirs,
        mode_beside,
        replace,
        replace_symlink,
        umask,
        write_new,
    )

__all__ = [
    "FSYNC_MANY", "NO_LINKS", "PREFIX", "copy_file", "copy_range", "discard", "exchange",
    "file_system", "folds_case", "fsync_dir", "hold", "host", "is_temporary", "kept_mode",
    "locks_hold", "make_dirs", "mode_beside", "named", "read_plain", "reflink", "reflink_fd",
    "remove_tree", "replace", "replace_symlink", "start_writeback", "sweep", "sync_all",
    "sync_open", "temporary_name", "umask", "write_new", "writer_is_alive", "writer_is_dead",
]  # fmt: skip

open_rooms(
    __name__,
    copies="copy_file copy_range reflink reflink_fd",
    mutex="file_system hold locks_hold",
    names="PREFIX discard host is_temporary remove_tree sweep temporary_name writer_is_alive"
    " writer_is_dead",
    plain="read_plain",
    probe="folds_case kept_mode",
    sync="FSYNC_MANY fsync_dir named start_writeback sync_all sync_open",
    write="NO_LINKS exchange make_dirs mode_beside replace replace_symlink umask write_new",
)
