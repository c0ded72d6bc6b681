# What the scripts share: sourced, not run.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly repository

# Prints one plain line for the person who watches.
say() { printf '%s\n' "$*"; }

# Ends the script with a reason.
fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# Builds a product (lifeboat, where none is named) as the image does, and sets `lifeboat` to that program's path.
build_release() {
    local -a flags=(-c release --product "${1:-lifeboat}" --static-swift-stdlib --package-path "$repository")
    local log
    log=$(mktemp)
    if ! swift build "${flags[@]}" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "the release build failed; its output is above"
    fi
    rm -f "$log"
    lifeboat=$(swift build "${flags[@]}" --show-bin-path)/lifeboat
    [[ -x $lifeboat ]] || fail "the build left no program at $lifeboat"
}

# Sets `postgres_bin` to the programs of the newest installed PostgreSQL server.
find_postgres() {
    postgres_bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin -exec test -x '{}/initdb' \; -print \
        2>/dev/null | sort -V | tail -n 1)
    [[ -n $postgres_bin ]] || fail "no PostgreSQL server is installed; run scripts/install-packages demo"
}

# What stands before a server's program, which refuses root: it runs as the user whom Debian's package made for it.
# A list and not a function, so that a program in the background is the script's own child.
as_postgres=()
if [[ $(id -u) -eq 0 ]]; then as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups --); fi

# Starts a throwaway server in the directory $1, reached by a socket there and nothing else, whose superuser
# `postgres` has the password $2. Its process is in `server_pid`.
start_postgres() {
    local directory=$1 password=$2
    mkdir -p "$directory/socket"
    printf '%s\n' "$password" >"$directory/password"
    if [[ $(id -u) -eq 0 ]]; then chown -R postgres: "$directory"; fi
    chmod 700 "$directory/socket"
    "${as_postgres[@]}" "$postgres_bin/initdb" --pgdata="$directory/data" --username=postgres --encoding=UTF8 \
        --locale=C.UTF-8 --auth=scram-sha-256 --pwfile="$directory/password" --no-sync \
        >"$directory/initdb.log" 2>&1 || { cat "$directory/initdb.log" >&2; fail "initdb failed"; }
    rm -f "$directory/password"
    serve_postgres "$directory/data" "$directory/socket" "$directory/server.log"
}

# Starts a server on the data directory $1, reached by a socket in $2 and nothing else, with its log in $3. Its process
# is in `server_pid`.
serve_postgres() {
    local data=$1 socket=$2 log=$3
    "${as_postgres[@]}" "$postgres_bin/postgres" -D "$data" -k "$socket" -c listen_addresses= >"$log" 2>&1 &
    server_pid=$!
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if "$postgres_bin/pg_isready" -q -h "$socket" -t 1; then return; fi
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    fail "the throwaway PostgreSQL did not start; its log is above"
}

# Stops the server that start_postgres or serve_postgres started, and waits for its end.
stop_postgres() {
    [[ -n ${server_pid:-} ]] || return 0
    # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
    kill -INT "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}
