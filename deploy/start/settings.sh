# shellcheck shell=bash disable=SC2034,SC2154 # the parts share their variables
# What is set: variables of the environment, then a file, then defaults.

readonly SETTINGS=" PROJECT_DIR GPU_ID PORT BIND IDLE_TIMEOUT IMAGE CONTAINER_NAME CONTAINER_ENGINE READY_TIMEOUT \
MEMORY_LIMIT PIDS_LIMIT "

# A file of settings is read, never run: nothing in it is expanded, and it can set nothing but the names above.
read_env_file() { # read_env_file FILE
    local line name value number=0
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line#$'\xEF\xBB\xBF'}
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$ ]] ||
            give_up "$1, line $number: expected NAME=VALUE" 2 # the line itself may hold a key
        name=${BASH_REMATCH[2]}
        value=${BASH_REMATCH[3]}
        if [[ $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ || $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
            value=${BASH_REMATCH[1]}
        elif [[ $value == [\"\']* ]]; then
            give_up "$1, line $number: the quotes around the value of $name do not match" 2
        else
            [[ $value == '#'* ]] && value=""
            value=${value%%[[:space:]]#*}
            value=${value%"${value##*[![:space:]]}"}
        fi
        if [[ $SETTINGS != *" $name "* && $name != EDITX_?* ]]; then
            warning settings "$1, line $number: $name is no setting of this script and is left out"
        elif [[ -z ${!name:-} ]]; then # an empty variable counts as none
            printf -v "$name" '%s' "$value"
        fi
    done <"$1"
}

invalid=0
expect() { # expect NAME PATTERN MEANING
    [[ ${!1} =~ ^($2)$ ]] && return
    printf 'error: %s=%s: expected %s\n' "$1" "${!1}" "$3" >&2
    invalid=1
}

read_settings() {
    if [[ -n $env_file ]]; then
        [[ -f $env_file && -r $env_file ]] || give_up "the settings file $env_file cannot be read" 2
        read_env_file "$env_file"
    elif [[ -e $here/.env || -L $here/.env ]]; then
        [[ -f $here/.env && -r $here/.env ]] || give_up "the settings file $here/.env cannot be read" 2
        read_env_file "$here/.env"
    fi
    local image=editx:latest
    [[ -z $cpu ]] || image=editx:cpu
    PROJECT_DIR=${PROJECT_DIR:-$PWD}
    GPU_ID=${GPU_ID:-0}
    PORT=${PORT:-7860}
    BIND=${BIND:-127.0.0.1}
    IDLE_TIMEOUT=${IDLE_TIMEOUT:-${EDITX_IDLE_TIMEOUT:-300}}
    IMAGE=${IMAGE:-$image}
    CONTAINER_NAME=${CONTAINER_NAME:-step-audio-unified}
    CONTAINER_ENGINE=${CONTAINER_ENGINE:-}
    READY_TIMEOUT=${READY_TIMEOUT:-120}
    MEMORY_LIMIT=${MEMORY_LIMIT:-}
    PIDS_LIMIT=${PIDS_LIMIT:-}

    expect GPU_ID '[0-9]+|GPU-[0-9a-fA-F-]+' "the number of a GPU, such as 0, or its UUID"
    expect PORT '[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]' \
        "a port from 1 to 65535"
    expect BIND '[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]*' "an IP address such as 127.0.0.1 or 0.0.0.0"
    expect IDLE_TIMEOUT '-?[0-9]+(\.[0-9]+)?' "seconds, such as 300; 0 unloads at once, -1 never"
    expect IMAGE '[^-[:space:]][^[:space:]]*' "the name of an image, such as editx:latest"
    expect CONTAINER_NAME '[A-Za-z0-9][A-Za-z0-9_.-]*' "letters, digits, and _ . - after the first"
    expect CONTAINER_ENGINE 'docker|podman|' "docker or podman"
    expect READY_TIMEOUT '[1-9][0-9]{0,4}' "whole seconds, such as 120"
    expect MEMORY_LIMIT '([1-9][0-9]*[bkmg]?)?' "a size such as 16g"
    expect PIDS_LIMIT '([1-9][0-9]*)?' "a whole number"
    ((invalid == 0)) || exit 2

    address=$BIND
    [[ $BIND != 0.0.0.0 ]] || address=127.0.0.1
    [[ $BIND != "::" ]] || address=::1
    url="http://$(bracketed "$address"):$PORT"
}

bracketed() { if [[ $1 == *:* ]]; then printf '[%s]' "$1"; else printf '%s' "$1"; fi; }
