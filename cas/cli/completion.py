"""Completion scripts, made from the parser: commands, words, options, and names.

Names of assets and of experiments come from a project that may be a stranger's: no shell may
read them as anything but text (bash's ``compgen -W`` runs what stands in ``$(…)``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.cli.experiments import WORDS
from cas.cli.parser import COMMANDS, build, options_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["script"]

NAMED = ("files", "path", "pull", "push", "drop", "edit", "export", "rm", "verify", "why",
         "outdated", "lock", "tokens", "lineage")  # fmt: skip
"""The commands that take names of assets."""
OF_EXPERIMENTS = ("checkout", "reproduce")
"""The commands that take names of experiments, as words of ``cas experiments`` do."""
WORDS_OF_NAMES = [name for name, word in WORDS.items() if word.takes.startswith("NAME")]
SHELLS = "bash zsh fish"
_FIRST = """2>/dev/null | sed -n 's/^    "name": "\\(.*\\)",$/\\1/p' | sed 's/\\\\"/"/g'"""
_NAMES = f"cas list --json {_FIRST}"
_EXPERIMENTS = f"cas experiments --json {_FIRST}"

_FISH_COMMAND = """\
function __cas_command
  set -l words (commandline -opc)
  set -l i 2
  while test $i -le (count $words)
    switch $words[$i]
      case --project --color
        set i (math $i + 1)
      case '-*'
      case '*'
        echo $words[$i]
        return
    end
    set i (math $i + 1)
  end
end
function __cas_no_command
  test (count (__cas_command)) -eq 0
end
function __cas_word
  set -l words (commandline -opc)
  set -l command (__cas_command)
  set -l i (contains -i -- "$command" $words); or return
  for word in $words[(math $i + 1)..]
    string match -q -- '-*' $word; or begin; echo $word; return; end
  end
end
function __cas_no_word
  contains experiments (__cas_command); and test (count (__cas_word)) -eq 0
end"""


def script(shell: str) -> str:
    """Return the completion script of *shell*: bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](options_of(build()))


def _cases(options: dict[str, list[str]]) -> str:
    return "\n".join(f"    {name}) options='{' '.join(o)}' ;;" for name, o in options.items())


def _lines(words: Iterable[str]) -> str:
    return "\n".join(words)


def _patterns(commands: Iterable[str]) -> str:
    return "|".join(f"{name}:*" for name in commands)


def _experiments() -> str:
    return "|".join(f"experiments:{word}" for word in WORDS_OF_NAMES)


def _bash(options: dict[str, list[str]]) -> str:
    return f"""\
# bash completion of cas
_cas() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="" first="" options="" words="" one i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in
      --project|--color) ((i++)) ;;
      -*) ;;
      *) if [ -n "$command" ]; then first="${{COMP_WORDS[i]}}"; break; fi
         command="${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$command" in
    "") options='{" ".join(options["list"])} --version' ;;
{_cases(options)}
  esac
  case "$word" in
    -*) words="$(printf '%s\n' $options)" ;;
    *) case "$command:$first" in
         :) words='{_lines(COMMANDS)}' ;;
         {_patterns(NAMED)}) words="$({_NAMES})" ;;
         {_patterns(OF_EXPERIMENTS)}|{_experiments()}) words="$({_EXPERIMENTS})" ;;
         experiments:) words='{_lines(WORDS)}' ;;
         completion:*) words='{_lines(SHELLS.split())}' ;;
       esac ;;
  esac
  while IFS= read -r one; do
    case "$one" in
      "") ;;
      "$word"*) COMPREPLY+=("$(printf %q "$one")") ;;
    esac
  done <<< "$words"
}}
complete -o default -F _cas cas"""


def _zsh(options: dict[str, list[str]]) -> str:
    rows = "\n".join(
        f"    '{name}:{summary.replace(chr(39), '')}'" for name, (summary, _, _) in COMMANDS.items()
    )
    return f"""\
#compdef cas
# zsh completion of cas
_cas() {{
  local -a commands
  local command="" first="" options="" i
  commands=(
{rows}
  )
  for ((i = 2; i < CURRENT; i++)); do
    case "${{words[i]}}" in
      --project|--color) ((i++)) ;;
      -*) ;;
      *) if [[ -n "$command" ]]; then first="${{words[i]}}"; break; fi
         command="${{words[i]}}" ;;
    esac
  done
  case "$command" in
    "") options='{" ".join(options["list"])} --version' ;;
{_cases(options)}
  esac
  if [[ "${{words[CURRENT]}}" == -* ]]; then compadd -- ${{=options}}; return; fi
  case "$command:$first" in
    :) _describe command commands ;;
    {_patterns(NAMED)}) compadd -- ${{(f)"$({_NAMES})"}}; _files ;;
    {_patterns(OF_EXPERIMENTS)}|{_experiments()}) compadd -- ${{(f)"$({_EXPERIMENTS})"}} ;;
    experiments:) compadd -- {" ".join(WORDS)} ;;
    completion:*) compadd -- {SHELLS} ;;
    *) _files ;;
  esac
}}
if [[ "${{funcstack[1]}}" == _cas ]]; then _cas "$@"; else compdef _cas cas; fi"""


def _fish(options: dict[str, list[str]]) -> str:
    lines = [
        "# fish completion of cas",
        f"function __cas_names\n  {_NAMES}\nend",
        f"function __cas_experiments\n  {_EXPERIMENTS}\nend",
        _FISH_COMMAND,
    ]
    general = ("--version", *options["list"])
    lines += [f"complete -c cas -n __cas_no_command -l {option[2:]}" for option in general]
    for name, (summary, _, _) in COMMANDS.items():
        text = summary.replace("'", "")
        seen = f"contains {name} (__cas_command)"
        lines.append(f"complete -c cas -n __cas_no_command -f -a {name} -d '{text}'")
        lines += [f"complete -c cas -n '{seen}' -l {option[2:]}" for option in options[name]]
        if name in NAMED:
            lines.append(f"complete -c cas -n '{seen}' -a '(__cas_names)'")
        if name in OF_EXPERIMENTS:
            lines.append(f"complete -c cas -n '{seen}' -a '(__cas_experiments)'")
    lines.append(f"complete -c cas -n __cas_no_word -f -a '{' '.join(WORDS)}'")
    of_names = f"contains -- (__cas_word) {' '.join(WORDS_OF_NAMES)}"
    within = f"contains experiments (__cas_command); and {of_names}"
    lines.append(f"complete -c cas -n '{within}' -f -a '(__cas_experiments)'")
    lines.append(f"complete -c cas -n 'contains completion (__cas_command)' -f -a '{SHELLS}'")
    return "\n".join(lines)
