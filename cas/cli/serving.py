"""The command that serves what is locked to other programs and machines."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from cas.cli.options import command
from cas.cli.terminal import human, join
from cas.errors import CasError, NoProject, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.cli.terminal import Terminal
    from cas.serve.catalogue import Catalogue

__all__ = ["COMMANDS", "HANDLERS"]

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}

TOKEN = "CAS_SERVE_TOKEN"  # noqa: S105 - the name of a variable


@command(
    "serve",
    "serve what is locked over the Hub's protocol",
    """\
cas serve
cas serve --host 0.0.0.0         # elsewhere: HF_ENDPOINT=http://head:8000 hf download gpt2
cas serve --all --allow-host assets.lab.example""",
    into=COMMANDS,
)
def _serve_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                   help="where to listen (127.0.0.1); 0.0.0.0 is everywhere")  # fmt: skip
    p.add_argument("--port", type=_port, default=8000, metavar="N", help="8000; 0 takes a free one")
    p.add_argument("--all", action="store_true",
                   help="what every project of the store locks, this one's first")  # fmt: skip
    p.add_argument("--allow-host", action="append", default=[], metavar="NAME", dest="hosts",
                   help="a name that requests may call it by; repeat it for more")  # fmt: skip


def _serve(args: argparse.Namespace, out: Terminal) -> int:
    import logging

    from cas.serve.app import application
    from cas.serve.server import serve

    logging.basicConfig(
        format="cas: %(message)s", level=logging.INFO if args.verbose else logging.WARNING
    )
    token = _token()
    catalogue = _catalogue(args)
    restricted = bool(token) or _loopback(args.host)
    app = application(catalogue, token=token, hosts=args.hosts, restricted=restricted)
    _tell_of(catalogue, out, restricted=restricted)

    def ready(port: int) -> None:
        url = f"http://{_called(args.host)}:{port}"
        if out.json:
            out.document({"url": url, "repositories": _rows(catalogue)})
        out.say(
            f"serving at {url}; to use it: HF_ENDPOINT={url}" + (" HF_TOKEN=…" if token else "")
        )
        _flush()

    try:
        serve(app, args.host, args.port, ready=ready)
    except KeyboardInterrupt:
        out.say("stopped")
        return 130
    return 0


def _catalogue(args: argparse.Namespace) -> Catalogue:
    from cas.project import Project, open_user_store
    from cas.serve.catalogue import Catalogue

    try:
        project = Project.find(args.project)
    except NoProject as error:
        if not args.all:
            hint = "cas init; or: cas serve --all, what every project of the store has locked"
            raise NoProject(str(error), hint=hint) from None
        return Catalogue.of_store(open_user_store())
    return Catalogue.of_store(project.store, project) if args.all else Catalogue.of_project(project)


def _tell_of(catalogue: Catalogue, out: Terminal, *, restricted: bool) -> None:
    repositories = catalogue.repositories
    assets = {one.tree: one for repository in repositories for one in repository.assets}
    size = human(sum(one.size for one in assets.values()))
    number = len(repositories)
    out.say(f"{number} {'repository' if number == 1 else 'repositories'}, {size}")
    if catalogue.absent:
        why = [f"{name!r} ({reason})" for name, reason in catalogue.absent.items()]
        out.note(f"not served: {join(why)}")
    if not restricted:
        out.note(f"anybody who reaches this port can read all of it: {TOKEN}=… asks for a token")
        held = sorted(one.name for one in assets.values() if one.access)
        if held:
            out.note(f"gated or private, not served without a token: {join(map(repr, held))}")


def _rows(catalogue: Catalogue) -> list[dict[str, object]]:
    return [
        {
            "kind": repository.kind,
            "id": repository.id,
            "revisions": repository.revisions,
            "assets": [{"name": one.name, "commit": one.commit, "tree": one.tree_id}
                       for one in repository.assets],
        }
        for repository in catalogue.repositories
    ]  # fmt: skip


def _token() -> str | None:
    token = os.environ.get(TOKEN) or None
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"{TOKEN}: expected printable ASCII without spaces")
    return token


def _loopback(host: str) -> bool:
    """Say whether only this machine can reach *host*; raise CasError if it is no address."""
    import socket
    from ipaddress import ip_address

    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CasError(f"{host!r} is no address of this host: {error}") from None
    return all(ip_address(str(row[4][0]).partition("%")[0]).is_loopback for row in found)


def _called(host: str) -> str:
    """Return how other programs may call this server."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not listened at
        import socket

        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)


def _flush() -> None:
    import sys

    sys.stdout.flush()


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {"serve": _serve}
