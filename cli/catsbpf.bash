# SPDX-License-Identifier: Apache-2.0
# bash completion for catsbpf. All names come from the program itself (catsbpf help --names); those of services,
# sites and the like from whom it asks, for two seconds at most.

_catsbpf() {
  local current=${COMP_WORDS[COMP_CWORD]} option="" word i
  local -a words=() located=()
  # The words before this one without options; `option` is the one whose value comes next.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -n $option ]]; then
      [[ $word == "=" ]] && continue
      case $option in
        --socket|--pins|--url|--certificate|--key|--authority|--domain|--token) located+=("$option" "$word") ;;
      esac
      option=""
    else
      case $word in
        --socket|--pins|--url|--certificate|--key|--authority|--domain|--token|--file|--service|--csci|--client|--limit|\
        --gas|--cost|--delay|--lease|--drain|--reservation) option=$word ;;
        -*) ;;
        *) words+=("$word") ;;
      esac
    fi
  done
  [[ $current == "=" && -n $option ]] && current=""

  COMPREPLY=()
  case $option in
    "") words+=("$current") ;;
    --service) words=(explain "$current") ;;
    --drain) words=(bypass "$current") ;;  # on or off
    --socket|--certificate|--key|--authority|--file) compopt -o default; return ;;
    --pins) compopt -o dirnames; return ;;
    *) return ;;
  esac
  if [[ ${words[0]} == platform && ${words[1]} == put && ${#words[@]} == 3 && $current != -* ]]; then
    compopt -o default
    return
  fi
  # No compgen -W here: it would expand, and so run, what a name says.
  while IFS= read -r word; do
    [[ $word == "$current"* ]] && COMPREPLY+=("$(printf %q "$word")")
  done < <(timeout 2 "${COMP_WORDS[0]}" "${located[@]}" help --names -- "${words[@]}" 2>/dev/null)
}
complete -F _catsbpf catsbpf
