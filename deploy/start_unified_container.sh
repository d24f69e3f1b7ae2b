#!/usr/bin/env bash
# Start EditX in one container: page and API on one port, the model on the GPU only while somebody uses it.
# Looks first whether everything is there and says what to do where it is not. `--help` tells the settings.
set -euo pipefail

unset CDPATH # with it, cd goes elsewhere and says so
here=$(readlink -f -- "${BASH_SOURCE[0]}") # by whatever name or link it was called
readonly here=${here%/*}

problems=0
dry_run=""
cpu=""
replace=""
env_file=""

usage() {
    cat <<'HELP'
Usage: start_unified_container.sh [--cpu] [--replace] [--dry-run] [--env-file FILE]

Start EditX in one container, wait until it answers, and print its addresses.

  --cpu            Run without a GPU, from the image editx:cpu.
  --replace        Stop and remove a container of the same name first.
  --dry-run        Make every check, print the command, start and change nothing.
  --env-file FILE  Read settings from FILE; .env beside this script if not given.
  -h, --help       Show this message and exit.

Settings are variables of the environment or lines NAME=VALUE of that file; the environment wins.

  PROJECT_DIR       Directory that holds models/; the current directory if not set.
  GPU_ID            Number or UUID of the GPU, as nvidia-smi shows it. [0]
  PORT              Port of page and API on this machine. [7860]
  BIND              Address that port is opened on; 0.0.0.0 lets other machines in. [127.0.0.1]
  IDLE_TIMEOUT      Seconds without use after which a model leaves the GPU; 0 at once, -1 never. [300]
  IMAGE             [editx:latest, with --cpu editx:cpu]
  CONTAINER_NAME    [step-audio-unified]
  CONTAINER_ENGINE  docker or podman; the first of them that is installed if not set.
  READY_TIMEOUT     Seconds to wait until it answers. [120]
  MEMORY_LIMIT      Most memory of the container, such as 16g; no limit if not set.
  PIDS_LIMIT        Most processes and threads of the container; the engine's own limit if not set.
  EDITX_*           Handed on to the server, such as EDITX_API_KEY; docs/settings.md has all of them.
HELP
}

# --- what is said -------------------------------------------------------------------------------------------------

row() { printf '%-5s%-11s %s\n' "$1" "$2" "$3"; }
ok() { row ok "$1" "$2"; }
remedy() { printf '%-17s→ %s\n' '' "$1"; }
warning() { # warning NAME WHAT REMEDY...
    row warn "$1" "$2"
    shift 2
    for line in "$@"; do remedy "$line"; done
}
problem() { # problem NAME WHAT REMEDY...
    row fail "$1" "$2"
    shift 2
    for line in "$@"; do remedy "$line"; done
    problems=$((problems + 1))
}
give_up() {
    printf 'error: %s\n' "$1" >&2
    exit "${2:-1}"
}
show_command() { # one line that a shell takes back word for word
    printf ' '
    printf ' %q' "$@"
    printf '\n'
}

# --- flags --------------------------------------------------------------------------------------------------------

read_flags() {
    while (($#)); do
        case $1 in
            --cpu) cpu=yes ;;
            --replace) replace=yes ;;
            --dry-run) dry_run=yes ;;
            --env-file)
                (($# > 1)) || give_up "--env-file needs the name of a file" 2
                env_file=$2
                shift
                ;;
            --env-file=*) env_file=${1#*=} ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) give_up "$1 is not a flag of this script; --help shows those there are" 2 ;;
        esac
        shift
    done
}

# --- in order -----------------------------------------------------------------------------------------------------

# shellcheck source=start/settings.sh
. "$here/start/settings.sh"
# shellcheck source=start/models.sh
. "$here/start/models.sh"
# shellcheck source=start/machine.sh
. "$here/start/machine.sh"
# shellcheck source=start/container.sh
. "$here/start/container.sh"
# shellcheck source=start/ready.sh
. "$here/start/ready.sh"

read_flags "$@"
read_settings
if check_engine; then
    check_image
    check_models
    describe_container
    check_container
    if [[ $plan != keep ]]; then
        [[ -n $cpu ]] || check_runtime
        [[ -n $cpu ]] || check_gpu
        check_port
    fi
    [[ $BIND == 127.* || $BIND == "::1" || -n ${EDITX_API_KEY:-} ]] ||
        warning access "$BIND lets other machines in, and no key is asked of them" "set EDITX_API_KEY"
    [[ -z $dry_run ]] || show_plan
fi
((problems == 0)) || give_up "nothing was started: see the lines marked fail"
[[ -z $dry_run ]] || exit 0
[[ $replace != ask ]] || ask_to_replace
start_container
wait_until_ready
show_addresses
