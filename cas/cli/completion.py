"""Completion scripts, made from the parser: commands, options, and the names of assets."""

from __future__ import annotations

from cas.cli.parser import COMMANDS, build, options_of

__all__ = ["script"]

NAMED = ("files", "path", "pull", "push", "drop", "edit", "export", "rm", "verify", "why",
         "outdated", "lock",
         "tokens")  # fmt: skip
SHELLS = "bash zsh fish"
_NAMES = 'cas list --json 2>/dev/null | sed -n \'s/^    "name": "\\(.*\\)",$/\\1/p\''

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
end"""


def script(shell: str) -> str:
    """Return the completion script of *shell*: bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](options_of(build()))


def _cases(options: dict[str, list[str]]) -> str:
    return "\n".join(f"    {name}) options='{' '.join(o)}' ;;" for name, o in options.items())


def _bash(options: dict[str, list[str]]) -> str:
    return f"""\
# bash completion of cas
_cas() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="" options="" words="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in
      --project|--color) ((i++)) ;;
      -*) ;;
      *) command="${{COMP_WORDS[i]}}"; break ;;
    esac
  done
  case "$command" in
    "") options='{" ".join(options["list"])} --version' ;;
{_cases(options)}
  esac
  case "$word" in
    -*) words="$options" ;;
    *) case "$command" in
         "") words='{" ".join(COMMANDS)}' ;;
         {"|".join(NAMED)}) words="$({_NAMES})" ;;
         completion) words='{SHELLS}' ;;
       esac ;;
  esac
  if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$word")); fi
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
  local command="" options="" i
  commands=(
{rows}
  )
  for ((i = 2; i < CURRENT; i++)); do
    case "${{words[i]}}" in
      --project|--color) ((i++)) ;;
      -*) ;;
      *) command="${{words[i]}}"; break ;;
    esac
  done
  case "$command" in
    "") options='{" ".join(options["list"])} --version' ;;
{_cases(options)}
  esac
  if [[ "${{words[CURRENT]}}" == -* ]]; then compadd -- ${{=options}}; return; fi
  case "$command" in
    "") _describe command commands ;;
    {"|".join(NAMED)}) compadd -- ${{(f)"$({_NAMES})"}}; _files ;;
    completion) compadd -- {SHELLS} ;;
    *) _files ;;
  esac
}}
if [[ "${{funcstack[1]}}" == _cas ]]; then _cas "$@"; else compdef _cas cas; fi"""


def _fish(options: dict[str, list[str]]) -> str:
    lines = [
        "# fish completion of cas",
        f"function __cas_names\n  {_NAMES}\nend",
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
    lines.append(f"complete -c cas -n 'contains completion (__cas_command)' -f -a '{SHELLS}'")
    return "\n".join(lines)
