# What each image holds; sourced by build, whose helpers (open, packages, user, script, close ...) it uses.
# close and finish take, on standard input, the "config" object of the image.

IMAGES="midship busybox redis-7.0 redis-8.0 valkey-8.0 memcached-1.6 postgres-15 postgres-17"

tag_of() {
  case $1 in
    midship) echo "midship.test/midship:$(cd "$here/../.." && pwd | short_hash)" ;; # one per checkout: several may share a cluster
    busybox) echo docker.io/library/busybox:1.36 ;; # Debian has 1.37; the official 1.36 is the one people still name
    valkey-*) echo "docker.io/valkey/valkey:${1#*-}" ;;
    *) echo "docker.io/library/${1%-*}:${1##*-}" ;;
  esac
}
P=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# as by the Dockerfile, but packed for speed, and without what debuggers need; cue and what Git needs are layers that stay the
# same, the latter from this machine
image_midship() {
  local cue; cue=$WORK/cue-$(short_hash <"$MIDSHIP_CUE").tar.gz
  if [[ ! -e $cue ]]; then
    rm -rf "$WORK/root/cue"; install -D -m 755 "$MIDSHIP_CUE" "$WORK/root/cue/bin/cue"
    SOURCE_DATE_EPOCH=0 "$here/pack" --layer "$WORK/root/cue" -o "$cue.new"
    mv "$cue.new" "$cue"; rm -rf "$WORK/root/cue"
  fi
  need ssh:openssh-client gpg:gpg
  local git; git=$WORK/git-$(cat "$(command -v ssh)" "$(command -v gpg)" "$here/../../scripts/with-libraries" | short_hash).tar.gz
  if [[ ! -e $git ]]; then
    rm -rf "$WORK/root/git"; "$here/../../scripts/with-libraries" "$WORK/root/git" ssh ssh-keygen gpg
    SOURCE_DATE_EPOCH=0 "$here/pack" --layer "$WORK/root/git" -o "$git.new"
    mv "$git.new" "$git"; rm -rf "$WORK/root/git"
  fi
  local root=$WORK/root/midship
  rm -rf "$root"; mkdir -p "$root"/{bin,etc/ssl/certs,tmp}; chmod 1777 "$root/tmp"
  strip --strip-debug -o "$root/bin/midship" "$MIDSHIP_BIN"
  strip --strip-debug -o "$root/bin/midship-agent" "$MIDSHIP_AGENT"; strip --strip-debug -o "$root/bin/midship-init" "$MIDSHIP_INIT"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  echo 'midship:x:65532:65532::/:/sbin/nologin' >"$root/etc/passwd"
  echo 'midship:x:65532:' >"$root/etc/group"
  level=0 keep=1440
  SOURCE_DATE_EPOCH=0 finish "$cue" "$git" "$root" <<<'{"Env":["PATH=/bin","MALLOC_ARENA_MAX=2","MALLOC_TRIM_THRESHOLD_=131072"],"User":"65532:65532","WorkingDir":"/","Entrypoint":["/bin/midship"]}'
  rm -rf "$root"
}

# busybox-static and a link per applet, with the few files the official image has
image_busybox() {
  open trixie; packages busybox-static
  local bin=$WORK/layer/busybox-only applet
  rm -rf "$bin"; mkdir -p "$bin"/{bin,dev,etc,home,proc,root,sys,tmp,usr/sbin,usr/bin,var/spool/mail,var/www}; chmod 1777 "$bin/tmp"
  install -m 755 "$root/usr/bin/busybox" "$bin/bin/busybox"
  for applet in $("$bin/bin/busybox" --list); do [[ $applet == busybox ]] || ln "$bin/bin/busybox" "$bin/bin/$applet"; done
  ln -s ../../bin/env "$bin/usr/bin/env"
  printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$bin/etc/passwd"
  printf 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n' >"$bin/etc/group"
  umount -R "$root"
  finish "$bin" <<<'{"Env":["PATH='$P'"],"Cmd":["sh"]}'
  rm -rf "$bin"
}

# Redis and Valkey: binaries also in /usr/local/bin, data in /data, user 999, no configuration file
redis_like() { # release suite server
  open "$1" "$2"; user "$3" 999 /data; packages "$3-server" gosu
  rm -rf "$root/etc/$3" "$root/etc/init.d/$3"* "$root/var/lib/$3"
  mkdir -p "$root/data"; inside chown "$3:$3" /data
  local one; for one in cli benchmark check-aof check-rdb; do ln -sf "/usr/bin/$3-$one" "$root/usr/local/bin/$3-$one"; done
  ln -sf "/usr/bin/$3-server" "$root/usr/local/bin/$3-sentinel" # it is the server under another name
  script redis-server "usr/local/bin/$3-server" "$3"; script redis-entrypoint usr/local/bin/docker-entrypoint.sh "$3"
  ln -sf /usr/sbin/gosu "$root/usr/local/bin/gosu"
  if [[ $3 == valkey ]]; then for one in server sentinel cli benchmark check-aof check-rdb; do ln -sf "valkey-$one" "$root/usr/local/bin/redis-$one"; done; fi
  close <<<'{"Env":["PATH='$P'"],"Entrypoint":["docker-entrypoint.sh"],"Cmd":["'"$3"'-server"],
    "WorkingDir":"/data","Volumes":{"/data":{}},"ExposedPorts":{"6379/tcp":{}}}'
}
image_redis-7.0() { redis_like bookworm bookworm redis; }
image_redis-8.0() { redis_like trixie trixie redis; }
image_valkey-8.0() { redis_like bookworm bookworm-backports valkey; }

image_memcached-1.6() {
  open trixie; packages memcached
  inside userdel memcache 2>/dev/null || true; inside groupdel memcache 2>/dev/null || true; user memcache 11211 /nonexistent
  script default-command usr/local/bin/docker-entrypoint.sh memcached
  close <<<'{"Env":["PATH='$P'"],"User":"memcache","Entrypoint":["docker-entrypoint.sh"],"Cmd":["memcached"],"ExposedPorts":{"11211/tcp":{}}}'
}

postgres() { # release major
  open "$1"; user postgres 999 /var/lib/postgresql /bin/bash
  install -d -o 999 -g 999 -m 1777 "$root/var/lib/postgresql/data"; inside chown postgres:postgres /var/lib/postgresql
  mkdir -p "$root/etc/postgresql-common" "$root/docker-entrypoint-initdb.d"
  echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
  packages "postgresql-$2" locales gosu libnss-wrapper
  inside localedef -i en_US -c -f UTF-8 -A /usr/share/locale/locale.alias en_US.UTF-8
  # JIT needs libLLVM (130 MB); PostgreSQL runs without it when the provider is absent
  rm -rf "$root"/usr/lib/postgresql/*/lib/{llvmjit*,bitcode} "$root"/usr/lib/*-linux-gnu/lib{LLVM,z3}*
  local sample=$root/usr/share/postgresql/$2/postgresql.conf.sample
  sed -ri "s!^#?(listen_addresses)\s*=\s*\S+.*!\1 = '*'!" "$sample"
  mv "$sample" "$root/usr/share/postgresql/"; ln -s ../postgresql.conf.sample "$sample"
  install -d -o 999 -g 999 -m 3777 "$root/run/postgresql"
  script postgres-entrypoint usr/local/bin/docker-entrypoint.sh; ln -sf /usr/sbin/gosu "$root/usr/local/bin/gosu"
  close <<<'{"Env":["PATH='$P':/usr/lib/postgresql/'$2'/bin","PG_MAJOR='$2'","PGDATA=/var/lib/postgresql/data","LANG=en_US.utf8"],
    "Entrypoint":["docker-entrypoint.sh"],"Cmd":["postgres"],"StopSignal":"SIGINT","Volumes":{"/var/lib/postgresql/data":{}},"ExposedPorts":{"5432/tcp":{}}}'
}
image_postgres-15() { postgres bookworm 15; }
image_postgres-17() { postgres trixie 17; }
