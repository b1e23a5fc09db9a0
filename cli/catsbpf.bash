# SPDX-License-Identifier: Apache-2.0
# bash completion for catsbpf. Verbs, words and options come from the program itself; services from the
# agent (or the maps), and only where one is asked for.

_catsbpf() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local program=${COMP_WORDS[0]} verb="" word i
  local -a located=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $word in
      --socket|--pins|--url|--certificate|--key|--authority|--domain|--token) located+=("$word" "${COMP_WORDS[i+1]}"); ((i++)) ;;
      --*) ;;
      *) verb=$word; break ;;
    esac
  done

  case $previous in
    --socket|--certificate|--key|--authority|--file) compopt -o default; COMPREPLY=(); return ;;
    --pins) compopt -o dirnames; COMPREPLY=(); return ;;
    --drain) COMPREPLY=($(compgen -W "on off" -- "$current")); return ;;
    --url|--domain|--token|--csci|--client|--limit|--gas|--cost|--delay|--lease|--reservation) COMPREPLY=(); return ;;
  esac
  if [[ $previous == --service || ( $previous == "$verb" && $verb =~ ^(explain|request)$ && $current != -* ) ]]; then
    COMPREPLY=($(compgen -W "$("$program" "${located[@]}" services 2>/dev/null |
      awk 'NR > 1 && substr($0, 1, 1) != " " { print $1 == "-" ? $2 : $1 }')" -- "$current"))
    return
  fi
  if [[ $previous == put && $verb == platform ]]; then compopt -o default; COMPREPLY=(); return; fi

  if [[ -z $verb ]]; then
    COMPREPLY=($(compgen -W "$("$program" help --names 2>/dev/null) --version --help" -- "$current"))
  elif [[ $verb == help && $previous == help ]]; then
    COMPREPLY=($(compgen -W "$("$program" help --names 2>/dev/null)" -- "$current"))
  elif [[ $verb == map && $previous == map && $current != -* ]]; then
    COMPREPLY=($(compgen -W "$("$program" "${located[@]}" map 2>/dev/null | awk 'NR > 1 && NF > 4 { print $1 }')" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$("$program" help "$verb" --names 2>/dev/null)" -- "$current"))
  fi
}
complete -F _catsbpf catsbpf
