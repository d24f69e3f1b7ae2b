# shellcheck shell=bash disable=SC2034,SC2154 # the parts share their variables
# Waiting until the server answers, and what is said then.

readonly LOG_LINES=30

# Prints the status of GET PATH and, of a refusal, its reason. A subshell, so that the connection ends with it.
answer_of() ( # answer_of PATH
    exec 2>/dev/null
    exec 3<>"/dev/tcp/$address/$PORT" || exit 1
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$1" "${url#http://}" >&3
    read -r -t 5 _ status _ <&3 || exit 1
    IFS= read -r -t 5 -d '' rest <&3 || true
    reason=""
    [[ ! $rest =~ \"message\":\ ?\"([^\"]*)\" ]] || reason=": ${BASH_REMATCH[1]}"
    printf '%s%s' "$status" "$reason"
)

wait_until_ready() {
    local before=0 now answer heard="no answer yet" began=$SECONDS next=2
    printf '\nWaiting for %s/readyz, at most %s s\n' "$url" "$READY_TIMEOUT"
    [[ $plan != keep ]] || before=$("$engine" container inspect --format '{{.RestartCount}}' "$CONTAINER_NAME")
    while true; do
        if answer=$(answer_of /readyz); then
            [[ $answer != 200* ]] || break
            heard="answers $answer"
        fi
        now=$("$engine" container inspect --format '{{.RestartCount}} {{.State.Status}}' "$CONTAINER_NAME" 2>/dev/null) ||
            now="0 removed"
        [[ $now == "$before running" || $now == "$before created" ]] || died
        ((SECONDS - began < READY_TIMEOUT)) || late "$heard"
        if ((SECONDS - began >= next)); then
            printf '%4d s: the container is %s, %s\n' "$((SECONDS - began))" "${now#* }" "$heard"
            next=$((next + 5))
        fi
        sleep 0.3
    done
    printf 'Ready after %d s.\n' "$((SECONDS - began))"
}

last_words() {
    printf '\nThe last lines of its log:\n\n'
    "$engine" logs --tail "$LOG_LINES" "$CONTAINER_NAME" 2>&1 || true
    printf '\n'
}

died() {
    last_words
    if [[ $plan == keep ]]; then
        give_up "$CONTAINER_NAME ended while it was waited for; watch it with: $engine logs -f $CONTAINER_NAME"
    fi
    # Podman cannot stop a container at the moment between an end and the next restart; removing always ends that.
    "$engine" rm --force "$CONTAINER_NAME" >/dev/null 2>&1 || true
    give_up "$CONTAINER_NAME ended while starting; it was removed, so that it does not try for ever (voices and caches \
are kept)"
}

late() { # late WHAT
    last_words
    give_up "$CONTAINER_NAME was not ready within $READY_TIMEOUT s ($1); it goes on starting: wait longer with \
READY_TIMEOUT, watch it with: $engine logs -f $CONTAINER_NAME, or stop it with: $engine stop $CONTAINER_NAME"
}

show_addresses() {
    local variant=${complete# }
    variant=${variant%% *}
    cat <<HERE

EditX is ready.

  page           $url/
  API, docs      $url/docs
  health         $url/healthz
  model status   $url/api/v1/models/status

  watch it       $engine logs -f $CONTAINER_NAME
  unload now     $engine exec $CONTAINER_NAME editx models unload ${variant:-lite} --server http://127.0.0.1:$INNER_PORT
  look inside    $engine exec $CONTAINER_NAME editx doctor
  stop it        $engine stop $CONTAINER_NAME
HERE
    [[ -n $cpu ]] || printf '  GPU memory     watch nvidia-smi\n'
    [[ $BIND == 127.* || $BIND == "::1" ]] ||
        printf '\nOther machines reach it at http://%s:%s/\n' "$(uname -n)" "$PORT"
}
