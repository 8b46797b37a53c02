#!/bin/sh
# Makes the secrets of compose.yaml in deploy/compose/secrets, each where it is not there yet. What
# is there stays: the stores were set up with it.
set -eu
umask 077
folder=$(dirname "$0")/secrets
mkdir -p "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# keep NAME: what comes in, unless there is such a file. The containers' users are others than
# yours, and the folder lets nobody else in, so the files themselves can be read by all.
keep() {
  if [ -e "$folder/$1" ]; then cat >/dev/null; return; fi
  cat >"$folder/$1.new"
  chmod 0444 "$folder/$1.new"
  mv "$folder/$1.new" "$folder/$1"
}

random | keep postgres-password
random | keep pepper
random | keep grafana-password
printf 'requirepass %s\n' "$(random)" | keep valkey.conf
printf 'AWS_ACCESS_KEY_ID=rdev\nAWS_SECRET_ACCESS_KEY=%s\n' "$(random)" | keep archive-credentials

# What follows from those.
postgres=$(cat "$folder/postgres-password")
valkey=$(sed -n 's/^requirepass //p' "$folder/valkey.conf")
s3=$(sed -n 's/^AWS_SECRET_ACCESS_KEY=//p' "$folder/archive-credentials")
printf 'postgresql://rdev:%s@postgres:5432/rdev' "$postgres" | keep database-url
printf 'redis://:%s@valkey:6379/0' "$valkey" | keep redis-url
keep s3.json <<END
{"identities": [{"name": "rdev", "credentials": [{"accessKey": "rdev", "secretKey": "$s3"}],
  "actions": ["Read", "Write", "List"]}]}
END
