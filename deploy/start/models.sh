# shellcheck shell=bash disable=SC2034,SC2154 # the parts share their variables
# Which variants are there, and what is wrong with those that cannot be used.

# What a complete model directory holds, and the GPU memory (MB) each variant is believed to need.
readonly VARIANTS="base awq bnb"
readonly -A DIRECTORY=(["base"]=Step-Audio-EditX ["awq"]=Step-Audio-EditX-AWQ-4bit ["bnb"]=Step-Audio-EditX-bnb-4bit)
readonly -A NEEDS_MB=(["base"]=14000 ["awq"]=9000 ["bnb"]=9000)
readonly TOKENIZER=Step-Audio-Tokenizer
readonly DECODER=CosyVoice-300M-25Hz
readonly MODEL_FILES="config.json tokenizer.model $DECODER/cosyvoice.yaml $DECODER/flow.pt $DECODER/hift.pt \
$DECODER/campplus.onnx"
readonly TOKENIZER_FILES="linguistic_tokenizer.npy speech_tokenizer_v1.onnx"
readonly PARAFORMER_FILES="model.pt config.yaml am.mvn"

models=""
complete=""

check_models() {
    local variant wrong
    if ! models=$(cd -- "$PROJECT_DIR/models" 2>/dev/null && pwd -P); then
        models=""
        no_models "there is no directory $PROJECT_DIR/models"
        return
    fi
    if [[ $models == *,* ]]; then
        problem models "$models: the engine takes no path with a comma" "move the directory, or set PROJECT_DIR"
        return
    fi
    for variant in $VARIANTS; do
        [[ -e $models/${DIRECTORY[$variant]} || -L $models/${DIRECTORY[$variant]} ]] || continue
        wrong=$(whats_wrong "$models/${DIRECTORY[$variant]}")
        [[ -n $wrong ]] || wrong=$(whats_wrong_with_tokenizer)
        if [[ -z $wrong ]]; then
            complete="$complete $variant"
        else
            warning models "$variant is left out: ${wrong%%$'\n'*}" "$(remedy_for "$wrong" "$variant")"
        fi
    done
    if [[ -n $complete ]]; then
        ok models "in $models:$complete"
    else
        no_models "$models holds no complete variant"
    fi
}

no_models() { # no_models WHAT
    if [[ -n $cpu ]]; then
        warning models "$1; the preview engine answers, which needs none"
        return
    fi
    problem models "$1" "set PROJECT_DIR to the directory that holds models/, or fetch one: $(pull_command base)" \
        "or try the preview engine, which needs none, with --cpu"
}

pull_command() { # pull_command VARIANT
    local directory flags=""
    printf -v directory '%q' "${models:-$PROJECT_DIR/models}"
    [[ -z $podman ]] || flags=" --security-opt label=disable"
    # Without root, podman gives users other numbers inside unless it is told to keep them.
    [[ -z $podman || $EUID == 0 ]] || flags+=" --userns=keep-id"
    # shellcheck disable=SC2016 # the reader's shell expands it
    printf 'mkdir -p %s && %s run --rm%s --user "$(id -u):$(id -g)" --volume %s:/models %s pull --variant %s' \
        "$directory" "$engine" "$flags" "$directory" "$IMAGE" "$1"
}

remedy_for() { # remedy_for WRONG VARIANT
    if [[ $1 == *$'\n'* ]]; then printf '%s' "${1#*$'\n'}"; else pull_command "$2"; fi
}

# What keeps a directory from being used, as far as names, sizes and first lines tell; nothing when nothing does.
# A second line is the remedy where that is not to fetch it.
whats_wrong() { # whats_wrong DIRECTORY
    local file shards
    strange_in "$1" && return
    for file in $MODEL_FILES; do
        [[ -s $1/$file ]] || { printf '%s' "$1/$file is missing or empty" && return; }
    done
    shards=$(grep -o '[^"/]*\.safetensors"' "$1/model.safetensors.index.json" 2>/dev/null | sort -u) || true
    for file in ${shards//\"/}; do
        [[ -s $1/$file ]] || { printf '%s' "$1/$file is missing or empty" && return; }
    done
    [[ -n $(find -L "$1" -maxdepth 1 -name '*.safetensors' -size +0) ]] || printf '%s' "$1 holds no *.safetensors"
}

whats_wrong_with_tokenizer() {
    local directory=$models/$TOKENIZER file paraformer
    [[ -d $directory ]] || { printf '%s' "$directory is missing" && return; }
    strange_in "$directory" && return
    for file in $TOKENIZER_FILES; do
        [[ -s $directory/$file ]] || { printf '%s' "$directory/$file is missing or empty" && return; }
    done
    paraformer=$(find -L "$directory" -name model.pt -size +0 -print -quit)
    for file in $PARAFORMER_FILES; do
        [[ -n $paraformer && -s ${paraformer%/*}/$file ]] ||
            { printf '%s' "$directory/**/$file is missing or empty" && return; }
    done
}

# Prints the first file that is there and yet of no use; fails when there is none.
strange_in() { # strange_in DIRECTORY
    local file
    while IFS= read -r file; do
        [[ $(readlink -f -- "$file") == "$models"/* ]] && continue
        printf '%s\n%s' "$file is a link to a place outside models/, which the container does not see" \
            "put the files there themselves (cp -rL follows links)"
        return
    done < <(find "$1" "$1/" -type l 2>/dev/null)
    while IFS= read -r file; do
        LC_ALL=C grep -q '^version https://git-lfs' "$file" || continue
        printf '%s' "$file is a git-LFS pointer, not the file itself"
        return
    done < <(find "$1/" -type f -size -1024c)
    file=$(find "$models" -maxdepth 0 ! -perm -0005)
    file=${file:-$(find "$1/" \( -type d ! -perm -0005 -o -type f ! -perm -0004 \) -print -quit)}
    [[ -n $file ]] || return 1
    printf '%s\nchmod -R o+rX %q' "$file cannot be read by the container's own user" "$models"
}
