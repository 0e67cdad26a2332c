#!/bin/sh
# Makes the secrets that docker-compose.yml reads, each once: what is there stays as it is.
set -eu
cd "$(dirname "$0")/.."
mkdir -p secrets
chmod 700 secrets
for name in verbatim_mongo_admin_password verbatim_mongo_password verbatim_bootstrap_key; do
  file="secrets/$name"
  if [ ! -s "$file" ]; then
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$file"
    # Readable inside the containers, whose users are others; the folder keeps everybody else out.
    chmod 444 "$file"
    echo "made $file"
  fi
done
