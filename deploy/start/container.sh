# shellcheck shell=bash disable=SC2034,SC2154 # the parts share their variables
# The container: how it is run, and the one that may be there already.

readonly INSIDE=" EDITX_HOST EDITX_PORT EDITX_MODEL_PATH EDITX_DATA_DIR EDITX_CONFIG "
readonly INNER_PORT=7860
readonly STOP_TIMEOUT_S=40 # the server lets requests finish for 30 s
readonly HEALTH="python /opt/editx/health.py" # podman builds images without the Dockerfile's own health check

run=()
fingerprint=""

describe_container() {
    local name secrets="" restart=unless-stopped
    [[ -z $podman ]] || restart=always # the only policy that podman-restart.service starts after a reboot everywhere
    run=(
        run --detach --name "$CONTAINER_NAME" --restart "$restart" --stop-timeout "$STOP_TIMEOUT_S"
        --publish "$(bracketed "$BIND"):$PORT:$INNER_PORT"
        --health-cmd "$HEALTH" --health-interval 30s --health-timeout 5s --health-start-period 60s --health-retries 3
        --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges
        --mount "type=volume,src=editx-data,dst=/data"
    )
    [[ -z $models ]] || run+=(--mount "type=bind,src=$models,dst=/models,readonly")
    [[ -z $podman ]] || run+=(--security-opt label=disable) # SELinux would keep models and GPU from it
    [[ -z $MEMORY_LIMIT ]] || run+=(--memory "$MEMORY_LIMIT")
    [[ -z $PIDS_LIMIT ]] || run+=(--pids-limit "$PIDS_LIMIT")
    if [[ -n $cpu ]]; then
        EDITX_DEVICE=${EDITX_DEVICE:-cpu}
    elif [[ -n $podman ]]; then
        run+=(--device "nvidia.com/gpu=$GPU_ID")
    else
        run+=(--gpus "device=$GPU_ID")
    fi
    EDITX_IDLE_TIMEOUT=$IDLE_TIMEOUT
    for name in "${!EDITX_@}"; do
        if [[ $INSIDE == *" $name "* ]]; then
            warning settings "$name is left out: it is fixed inside the container" "use PORT, BIND and PROJECT_DIR"
        elif [[ -z ${!name} ]]; then
            continue
        elif [[ $name =~ KEY|TOKEN|SECRET|PASSWORD ]]; then
            export "${name?}" # handed on by name, so that no list of processes and no screen shows it
            run+=(--env "$name")
            secrets+="$name=${!name} "
        else
            run+=(--env "$name=${!name}")
        fi
    done
    fingerprint=$(printf '%s\n' "$image_id" "$IMAGE" "${run[@]}" "$secrets" | cksum)
    fingerprint=${fingerprint%% *}
    run+=(--label "editx.settings=$fingerprint" "$IMAGE")
}

state=""
plan=run # run, keep, start or replace

check_container() {
    local found labelled=""
    found=$("$engine" container inspect \
        --format '{{.State.Status}} {{index .Config.Labels "editx.settings"}}' "$CONTAINER_NAME" 2>/dev/null) || {
        ok container "$CONTAINER_NAME is not there yet"
        return
    }
    read -r state labelled <<<"$found"
    if [[ -n $replace ]]; then
        plan=replace
        ok container "$CONTAINER_NAME ($state) is replaced"
    elif [[ $labelled == "$fingerprint" && $state == running ]]; then
        plan=keep
        ok container "$CONTAINER_NAME is running already, with these settings"
    elif [[ $labelled == "$fingerprint" && $state =~ ^(exited|created)$ ]]; then
        plan=start
        ok container "$CONTAINER_NAME is there with these settings, and is started again"
    elif [[ $labelled == "$fingerprint" && $state == paused ]]; then
        plan=replace
        problem container "$CONTAINER_NAME is paused, with these settings" \
            "go on with it: $engine unpause $CONTAINER_NAME; or --replace"
    elif [[ $labelled == "$fingerprint" && $state == restarting ]]; then
        plan=replace
        problem container "$CONTAINER_NAME ends again and again, and its engine restarts it" \
            "its log says why: $engine logs --tail $LOG_LINES $CONTAINER_NAME; then --replace"
    else
        plan=replace
        old_container
    fi
}

old_container() {
    local what="$CONTAINER_NAME is there already ($state), with other settings or from another image"
    if [[ -z $dry_run && -t 0 && -t 1 ]]; then
        warning container "$what" "you are asked below before it is replaced"
        replace=ask
    else
        problem container "$what" "--replace stops and removes it first (voices and caches are kept), or set CONTAINER_NAME"
    fi
}

ask_to_replace() {
    local answer=""
    read -r -p "Stop and remove $CONTAINER_NAME ($state), and start it anew? [y/N] " answer || true
    [[ $answer =~ ^([yY]|yes)$ ]] || give_up "left as it was"
}

show_plan() {
    printf '\nThis would be run:\n\n'
    if [[ $plan == keep ]]; then
        printf '  nothing: it is running already\n'
    elif [[ $plan == start ]]; then
        show_command "$engine" start "$CONTAINER_NAME"
    else
        [[ $plan != replace ]] || {
            show_command "$engine" stop -t "$STOP_TIMEOUT_S" "$CONTAINER_NAME"
            show_command "$engine" rm "$CONTAINER_NAME"
        }
        show_command "$engine" "${run[@]}"
    fi
}

start_container() {
    if [[ $plan == replace ]]; then
        [[ ! $state =~ ^(running|restarting|paused)$ ]] ||
            "$engine" stop -t "$STOP_TIMEOUT_S" "$CONTAINER_NAME" >/dev/null
        "$engine" rm "$CONTAINER_NAME" >/dev/null
    fi
    if [[ $plan == start ]]; then
        "$engine" start "$CONTAINER_NAME" >/dev/null || give_up "$engine could not start $CONTAINER_NAME, see above"
    elif [[ $plan != keep ]]; then
        "$engine" "${run[@]}" >/dev/null || {
            # What was created and never ran would be in the way of the next try.
            [[ $("$engine" container inspect --format '{{.State.Status}}' "$CONTAINER_NAME" 2>/dev/null) != created ]] ||
                "$engine" rm "$CONTAINER_NAME" >/dev/null
            give_up "$engine could not start $CONTAINER_NAME, see above"
        }
    fi
}
