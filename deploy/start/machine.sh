# shellcheck shell=bash disable=SC2034,SC2154 # the parts share their variables
# What the machine has to offer: the container engine, the image, the GPU, the port.

engine=""
podman=""

check_engine() {
    engine=$CONTAINER_ENGINE
    if [[ -z $engine ]]; then
        engine=docker
        command -v docker >/dev/null || ! command -v podman >/dev/null || engine=podman
    fi
    if ! command -v "$engine" >/dev/null; then
        problem engine "$engine is not installed" \
            "install Docker Engine (https://docs.docker.com/engine/install/) or podman"
        return 1
    fi
    [[ $("$engine" --version 2>&1) != *podman* ]] || podman=yes # also where docker is podman under another name
    local version query='{{.Server.Version}}'
    [[ -z $podman ]] || query='{{.Client.Version}}'
    if ! version=$("$engine" version --format "$query" 2>&1); then
        case $version in
            *"ermission denied"*)
                problem engine "this user may not use $engine" \
                    "sudo usermod -aG docker \"\$USER\", then log in again; or run this script with sudo"
                ;;
            *)
                problem engine "$engine does not answer: ${version##*$'\n'}" \
                    "start it: sudo systemctl start docker (or open Docker Desktop)"
                ;;
        esac
        return 1
    fi
    ok engine "$engine $version"
}

image_id=""

check_image() {
    if image_id=$("$engine" image inspect --format '{{.Id}}' "$IMAGE" 2>/dev/null); then
        ok image "$IMAGE"
        return
    fi
    local for_cpu=""
    [[ -z $cpu ]] || for_cpu=" --build-arg DEVICE=cpu"
    problem image "there is no image $IMAGE" \
        "build it in a copy of this repository: $engine build -f deploy/Dockerfile$for_cpu -t $IMAGE ."
}

check_runtime() {
    if [[ -n $podman ]]; then
        if [[ $(nvidia-ctk cdi list 2>/dev/null) == *nvidia.com/gpu=* ]]; then
            ok runtime "podman sees the GPU by CDI"
        else
            problem runtime "podman knows of no GPU" \
                "install the NVIDIA Container Toolkit, then: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
        fi
    elif [[ $("$engine" info --format '{{json .Runtimes}}' 2>/dev/null) == *'"nvidia"'* ]] ||
        command -v nvidia-container-runtime-hook >/dev/null; then
        ok runtime "NVIDIA container runtime"
    else
        problem runtime "docker has no NVIDIA runtime" \
            "install the NVIDIA Container Toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker" \
            "or run without a GPU: --cpu"
    fi
}

# What the image's build of PyTorch, for CUDA 13, runs on.
readonly LEAST_DRIVER=580 LEAST_CAPABILITY=7.5
readonly GET_DRIVER="NVIDIA's own packages are new enough where those of the system are not \
(https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/)"

check_gpu() {
    local gpus index uuid name total free driver capability found="" known=""
    local fields=index,uuid,name,memory.total,memory.free,driver_version,compute_cap
    if ! command -v nvidia-smi >/dev/null; then
        problem gpu "nvidia-smi is not there, so neither is the NVIDIA driver" \
            "install the driver, $LEAST_DRIVER or newer; $GET_DRIVER" "or run without a GPU: --cpu"
        return
    fi
    if ! gpus=$(nvidia-smi --query-gpu="$fields" --format=csv,noheader,nounits 2>&1) || [[ -z $gpus ]]; then
        [[ $gpus != *"not a valid field"* ]] || { # which drivers are that do not know what is asked for
            unfit "its driver is older than $LEAST_DRIVER" "update the driver; $GET_DRIVER"
            return
        }
        problem gpu "nvidia-smi shows no GPU: ${gpus%%$'\n'*}" \
            "reboot if the driver was updated; look at: sudo dmesg | grep -i nvrm; or run without a GPU: --cpu"
        return
    fi
    while IFS=, read -r index uuid name total free driver capability; do
        uuid=${uuid# } name=${name# } total=${total# } free=${free# } driver=${driver# } capability=${capability# }
        known="$known $index"
        [[ $GPU_ID == "$index" || $GPU_ID == "$uuid" ]] || continue
        found=yes
        break
    done <<<"$gpus"
    if [[ -z $found ]]; then
        problem gpu "there is no GPU $GPU_ID; there are:$known" "set GPU_ID to one of them"
        return
    fi
    if [[ $driver =~ ^[0-9]+ ]] && ((BASH_REMATCH[0] < LEAST_DRIVER)); then
        unfit "$name has driver $driver, older than $LEAST_DRIVER" "update the driver; $GET_DRIVER"
        return
    fi
    if [[ $capability =~ ^[0-9]+\.[0-9]$ ]] && ((${capability/./} < ${LEAST_CAPABILITY/./})); then
        unfit "$name has compute capability $capability, less than $LEAST_CAPABILITY" "choose a newer GPU with GPU_ID"
        return
    fi
    if [[ ! $free =~ ^[0-9]+$ || ! $total =~ ^[0-9]+$ ]]; then # machines that share memory with the GPU say N/A
        ok gpu "$GPU_ID: $name, which does not tell its memory"
        return
    fi
    check_memory "$name" "$((total * 1048576 / 1000000))" "$((free * 1048576 / 1000000))"
}

unfit() { # unfit WHAT REMEDY: a GPU that the image's PyTorch cannot use; an image of one's own may hold another
    local say=problem
    [[ $IMAGE == editx:latest ]] || say=warning
    "$say" gpu "$1: PyTorch for CUDA 13, as in editx:latest, does not run on it" "$2" "or run without a GPU: --cpu"
}

check_memory() { # check_memory NAME TOTAL FREE, both in megabytes
    local name=$1 total=$2 free=$3 budget variant needed fits="" short="" never=""
    budget=$(budget_mb "$total")
    for variant in $complete; do
        needed=${NEEDS_MB[$variant]}
        if ((needed > budget)); then
            never="$never, $variant (about $(gb "$needed"))"
        elif ((needed > free)); then
            short="$short; $variant takes about $(gb "$needed")"
        else
            fits="$fits $variant"
        fi
    done
    if [[ -n $fits || -z $complete ]]; then
        ok gpu "$GPU_ID: $name, $(gb "$free") of $(gb "$total") free"
        [[ -z $short ]] || remedy "not for every variant at this moment${short/;/:}"
    elif [[ -n $short ]]; then
        warning gpu "$GPU_ID: $name has $(gb "$free") of $(gb "$total") free$short" \
            "EditX starts all the same, and loads when asked: by then free memory$(gpu_users), or choose another GPU_ID"
    else
        warning gpu "$GPU_ID: $name has $(gb "$total") in all, too little for every variant that is here" \
            "EditX starts all the same, and the preview engine answers"
    fi
    [[ -z $never ]] || remedy "too small for ${never#, }: EditX uses $(gb "$budget") of it. Choose a larger GPU with \
GPU_ID, or set EDITX_GPU_MEMORY_BUDGET if you know that less is taken"
    [[ $complete != " base" || -n $fits ]] || ((NEEDS_MB[awq] > budget)) || remedy "awq needs less: $(pull_command awq)"
}

budget_mb() { # budget_mb TOTAL: what the server allows its models, in megabytes; 90 % where nothing is set
    local given=${EDITX_GPU_MEMORY_BUDGET:-}
    if [[ ${given,,} =~ ^\ *([0-9]*\.?[0-9]+)\ *([kmgt]?)(i?)b?\ *$ ]]; then
        awk -v number="${BASH_REMATCH[1]}" -v unit="${BASH_REMATCH[2]}" -v base="${BASH_REMATCH[3]:+1024}" \
            'BEGIN { printf "%d", number * (base ? base : 1000) ^ (unit ? index("kmgt", unit) : 0) / 1e6 }'
    else
        printf '%d' "$(($1 * 9 / 10))"
    fi
}

gb() { printf '%d.%d GB' $(($1 / 1000)) $(($1 % 1000 / 100)); } # gb MEGABYTES

gpu_users() {
    local users
    users=$(nvidia-smi --id="$GPU_ID" --query-compute-apps=pid,process_name,used_memory --format=csv,noheader 2>/dev/null) || return 0
    [[ -z $users ]] || printf ' (held by: %s)' "${users//$'\n'/; }"
}

check_port() {
    (exec 3<>"/dev/tcp/$address/$PORT") 2>/dev/null || {
        ok port "$PORT on $BIND is free"
        return
    }
    local holder
    holder=$(port_holder)
    [[ $plan != replace || $holder != "container $CONTAINER_NAME" ]] || {
        ok port "$PORT on $BIND is held by the container to be replaced"
        return
    }
    problem port "$PORT on $BIND is taken${holder:+ by $holder}" "stop that, or choose another PORT"
}

port_holder() {
    local name ports hex inode file pid
    while read -r name ports; do
        [[ $ports != *":$PORT->"* ]] || { printf 'container %s' "$name" && return; }
    done < <("$engine" ps --format '{{.Names}} {{.Ports}}' 2>/dev/null)
    printf -v hex '%04X' "$PORT"
    inode=$(awk -v port=":$hex\$" '$4 == "0A" && $2 ~ port { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null) || true
    [[ -n $inode ]] || return 0
    file=$(find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" -print -quit 2>/dev/null) || true
    [[ -n $file ]] || { printf 'a process of another user' && return; }
    pid=${file#/proc/}
    pid=${pid%%/*}
    printf 'process %s (%s)' "$pid" "$(cat "/proc/$pid/comm")"
}
