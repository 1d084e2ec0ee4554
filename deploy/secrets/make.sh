#!/bin/sh
# Make the secrets of deploy/compose.yaml in this folder, once; what is there stays.
# The brokers run as user 10001 and PostgreSQL as another, so the files are readable to all who may
# enter the folder, and only you may: compose mounts them with the rights that they have here.
set -eu
cd "$(dirname "$0")"
chmod 700 .
umask 022

random() { # 32 bytes in base64url without padding
  head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}

keep() { # the file $1 with the words $2, unless it is there
  [ -e "$1" ] || printf '%s' "$2" >"$1"
}

for name in postgres_password owner_password broker_password master_key; do
  keep "$name" "$(random)"
done
keep owner_database_url "postgresql://broker_owner:$(cat owner_password)@postgres/broker"
keep broker_database_url "postgresql://broker:$(cat broker_password)@postgres/broker"
echo "secrets are in $(pwd): keep a copy of master_key apart from the backups of the database"
