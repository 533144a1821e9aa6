"""The command that makes a store which several users share, and what is told of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas.errors import UsageError, typed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cas.cli.terminal import Terminal

__all__ = ["init", "told"]


def init(args: argparse.Namespace, out: Terminal) -> dict[str, Any]:
    """Make or mend a shared store; return what ``--json`` says of it."""
    from cas import overview
    from cas.store.shared import share_store

    if not args.shared or not args.group:
        raise UsageError(
            "cas store init: expected --shared DIR and --group GROUP",
            hint="cas store init --shared /data/cas --group ml; a store of your own needs no init",
        )
    store = share_store(args.shared, args.group)
    report = overview.store_report(store)
    out.say(f"{store.root} is shared with the group {report['shared']['group']}")
    out.say(f"export CAS_STORE={typed(store.root)}   # for each of its users")
    return report


def told(report: dict[str, Any]) -> Iterator[str]:
    """Yield what a person is told of a shared store."""
    if shared := report.get("shared"):
        yield f"shared with the group {shared['group']}, trust = {shared['trust']!r}"
