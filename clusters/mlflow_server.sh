#!/usr/bin/env bash
# Starts PostgreSQL and an MLflow server as two containers on this machine. Again = nothing happens where they run.
#
#   usage       mlflow_server.sh IMAGE FOLDER [ADDRESS [NAME...]]
#   try         curl http://127.0.0.1:5000/health
#   stop        docker rm --force eqbench-mlflow eqbench-postgres
#
# IMAGE is the one of clusters/Dockerfile; FOLDER is shared by the cluster's machines: runs/, data/ and mlartifacts/ in it
# belong to the user of the image. The database and its password are in $EQBENCH_DATABASE, by default FOLDER/database;
# a folder that refuses root (NFS with root_squash) cannot hold it: name one on a local disk.
# ADDRESS is what MLflow listens on: 127.0.0.1 by default, 0.0.0.0 for all of the machine's. With the address of one network
# alone, `try` needs that address, and a tunnel to the machine's own port 5000 ends nowhere. PostgreSQL stays on loopback.
# With $EQBENCH_DATABASE/auth.env, which the README beside says how to make, MLflow asks for a password. Without it, whoever
# reaches port 5000 can read, change and delete all results: the firewall must keep it to the cluster.
# MLflow answers only to names that it was told: localhost, this machine's names and IPv4 addresses, and each NAME (one in
# MLFLOW_TRACKING_URI that this machine does not know itself by). Clients that use another are refused with HTTP 403.
#
# What a change costs: another IMAGE, ADDRESS, NAME or auth.env takes effect after `stop`; nothing stored is lost.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: mlflow_server.sh IMAGE FOLDER [ADDRESS [NAME...]]" >&2
    exit 2
fi
image=$1 folder=$2 address=${3:-127.0.0.1}
database=${EQBENCH_DATABASE:-$folder/database}
postgres=postgres:17
seconds=120

names=$({ hostname; hostname -f; hostname -I; } 2>/dev/null || true)
allowed="localhost:*,127.0.0.1:*"
for name in $names "${@:4}"; do
    case $name in *:*) ;; *) allowed+=",$name:*" ;; esac  # no IPv6
done

running() { [ "$(docker inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; }

# Runs a command until it succeeds.
until_true() {
    for _ in $(seq "$seconds"); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 1
    done
    echo "mlflow_server.sh: no success within $seconds s: $*; see: docker logs eqbench-postgres; docker logs eqbench-mlflow" >&2
    exit 1
}

owner=$(docker run --rm "$image" id -u)
for part in runs data mlartifacts; do
    mkdir -p "$folder/$part"
    chown "$owner" "$folder/$part"
done

# The password is made here, once, and known to nobody else: the containers read it from files of this user. MLflow has it
# twice: accounts (mlflow_auth.ini) are found by libpq's variables.
umask 077
mkdir -p "$database/postgres"
if [ ! -s "$database/postgres.env" ]; then
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    printf 'POSTGRES_USER=mlflow\nPOSTGRES_DB=mlflow\nPOSTGRES_PASSWORD=%s\n' "$password" >"$database/postgres.env.new"
    mv "$database/postgres.env.new" "$database/postgres.env"
fi
password=$(sed -n 's/^POSTGRES_PASSWORD=//p' "$database/postgres.env")
printf 'MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://mlflow:%s@127.0.0.1:5432/mlflow\nPGPASSWORD=%s\n' \
    "$password" "$password" >"$database/mlflow.env"

if ! running eqbench-postgres; then
    docker rm --force eqbench-postgres >/dev/null 2>&1 || true
    docker run --detach --name eqbench-postgres --restart unless-stopped --publish 127.0.0.1:5432:5432 \
        --env-file "$database/postgres.env" --volume "$database/postgres:/var/lib/postgresql/data" "$postgres"
fi
until_true docker exec eqbench-postgres pg_isready --username mlflow --dbname mlflow

accounts=() app=() asks="without passwords"
if [ -e "$database/auth.env" ]; then
    accounts=(--env-file "$database/auth.env" --env PGHOST=127.0.0.1 --env PGUSER=mlflow --env PGDATABASE=mlflow)
    app=(--app-name basic-auth) asks="with passwords"
fi

# Without the eight processes (1 GiB) with which MLflow would run jobs of its own: eqbench has none.
if ! running eqbench-mlflow; then
    docker rm --force eqbench-mlflow >/dev/null 2>&1 || true
    docker run --detach --name eqbench-mlflow --restart unless-stopped --network host \
        --env-file "$database/mlflow.env" --env MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "${accounts[@]}" \
        --volume "$folder:$folder" "$image" \
        mlflow server --host "$address" --port 5000 --artifacts-destination "$folder/mlartifacts" --workers 2 \
        --allowed-hosts "$allowed" "${app[@]}"
fi
reached=${address/#0.0.0.0/127.0.0.1}
until_true docker exec eqbench-mlflow wget --quiet --output-document=- "http://$reached:5000/health"
echo "MLflow answers at port 5000 of $address, $asks; artifacts in $folder/mlartifacts, database in $database/postgres"
