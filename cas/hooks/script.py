"""The lines that are put into git's hooks. They name no path, for a repository may hold them.

What can't be run blocks nothing: the hook says so and git goes on. Only the exit code REFUSED
of ``cas hook run`` stops git.
"""

from __future__ import annotations

__all__ = ["BEGIN", "END", "REFUSED", "block", "driver"]

REFUSED = 9
"""What ``cas hook run`` ends with where git shall stop; 1 is also a broken installation's."""
BEGIN = "# >>> cas: put in by `cas hook install`, taken out by `cas hook uninstall`"
END = "# <<< cas"

_FIND = """\
cas_command=$(git config --get cas.command) || cas_command=
[ -x "$cas_command" ] || cas_command=$(command -v cas) || cas_command="""

_BLOCK = """\
{begin}
{find}
cas_code=0
if [ -z "$cas_command" ]; then
  echo "cas: the command is not on the PATH, so the {hook} hook did nothing;" \\
    "activate its environment and run: cas hook install" >&2
else
  "$cas_command" hook run {hook} "$@" </dev/null || cas_code=$?
fi
case $cas_code in
  0) ;;
  {refused}) exit 1 ;;
  130|143) exit $cas_code ;;
  *) echo "cas: the {hook} hook failed (exit $cas_code) and was passed over" >&2 ;;
esac
{chain}{end}
"""

_CHAIN = """\
[ ! -x "$(dirname "$0")/{old}" ] || "$(dirname "$0")/{old}" "$@" || exit $?
"""


def block(hook: str, *, chained: str | None = None) -> str:
    """Return the lines of one hook; *chained* is a program beside it that it runs last."""
    chain = _CHAIN.format(old=chained) if chained else ""
    return _BLOCK.format(begin=BEGIN, end=END, find=_FIND, hook=hook, refused=REFUSED, chain=chain)


def driver() -> str:
    """Return the command of the merge driver: git's own merge of text where cas can't do it."""
    find = _FIND.replace("\n", "; ")
    return (
        f'{find}; cas_code=127; [ -z "$cas_command" ] || '
        '{ "$cas_command" hook merge %O %A %B %P; cas_code=$?; }; '
        f"case $cas_code in 0) exit 0 ;; {REFUSED}|130|143) exit 1 ;; esac; "
        "git merge-file -L ours -L base -L theirs %A %O %B"
    )
