"""Completion scripts, made from the parser: commands, options, and the names of assets."""

from __future__ import annotations

import argparse

from cas.cli.parser import COMMANDS, build

__all__ = ["script"]

NAMED = ("files", "path", "pull", "edit", "export", "rm", "verify", "why", "outdated", "lock")
_NAMES = 'cas list --json 2>/dev/null | sed -n \'s/^    "name": "\\(.*\\)",$/\\1/p\''


def script(shell: str) -> str:
    """Return the completion script of *shell*: bash, zsh or fish."""
    options = _options()
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](options)


def _options() -> dict[str, list[str]]:
    parser = build()
    found: dict[str, list[str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                found[name] = sorted(
                    option
                    for one in sub._actions
                    for option in one.option_strings
                    if option.startswith("--")
                )
    return found


def _cases(options: dict[str, list[str]]) -> str:
    return "\n".join(f"    {name}) words='{' '.join(o)}' ;;" for name, o in options.items())


def _bash(options: dict[str, list[str]]) -> str:
    return f"""\
# bash completion of cas
_cas() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in -*) ;; *) command="${{COMP_WORDS[i]}}"; break ;; esac
  done
  if [ -z "$command" ]; then
    COMPREPLY=($(compgen -W '{" ".join(COMMANDS)}' -- "$word")); return
  fi
  case "$command" in
{_cases(options)}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) case "$command" in
         {"|".join(NAMED)}) COMPREPLY=($(compgen -W "$({_NAMES})" -- "$word")) ;;
         *) COMPREPLY=($(compgen -f -- "$word")) ;;
       esac ;;
  esac
}}
complete -F _cas cas"""


def _zsh(options: dict[str, list[str]]) -> str:
    rows = "\n".join(
        f"    '{name}:{summary.replace(chr(39), '')}'" for name, (summary, _, _) in COMMANDS.items()
    )
    return f"""\
#compdef cas
_cas() {{
  local -a commands words
  local command="" word
  commands=(
{rows}
  )
  for word in "${{words_so_far[@]:-${{(@)words[2,CURRENT-1]}}}}"; do :; done
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$word" in -*) ;; *) command="$word"; break ;; esac
  done
  if [[ -z "$command" ]]; then _describe command commands; return; fi
  local options=""
  case "$command" in
{_cases(options).replace("words=", "options=")}
  esac
  if [[ "${{words[CURRENT]}}" == -* ]]; then compadd -- ${{=options}}; return; fi
  case "$command" in
    {"|".join(NAMED)}) compadd -- ${{(f)"$({_NAMES})"}} ;;
    *) _files ;;
  esac
}}
_cas "$@" """.replace(
        '  for word in "${words_so_far[@]:-${(@)words[2,CURRENT-1]}}"; do :; done\n', ""
    ).replace("  local -a commands words\n", "  local -a commands\n")


def _fish(options: dict[str, list[str]]) -> str:
    lines = ["# fish completion of cas", "complete -c cas -f"]
    for name, (summary, _, _) in COMMANDS.items():
        text = summary.replace("'", "")
        lines.append(f"complete -c cas -n __fish_use_subcommand -a {name} -d '{text}'")
        seen = f"__fish_seen_subcommand_from {name}"
        lines += [f"complete -c cas -n '{seen}' -l {option[2:]}" for option in options[name]]
        if name in NAMED:
            command = _NAMES.replace("'", '"').replace('\\"', '\\\\"')
            del command
            lines.append(f"complete -c cas -n '{seen}' -a '(__cas_names)'")
    lines.insert(2, f"function __cas_names\n  {_NAMES}\nend")
    return "\n".join(lines)
