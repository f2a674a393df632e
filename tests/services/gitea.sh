# Gitea, built from its Go module; sourced by forge. Only what API, Git and webhooks need: the pages' scripts and styles
# are not built. (1.27 needs a module that the Go proxy does not serve.)
GITEA=1.26.0

gitea_home() { # prints the folder with gitea and its files
  local to=$BIN/gitea-$GITEA new=$BIN/.new-gitea module
  if [[ ! -d $to ]]; then
    need_go; need cc:gcc,libc6-dev
    (
      lock "$BIN/.lock-gitea" 7200 "another process builds gitea"
      [[ ! -d $to ]] || exit 0
      say "building gitea $GITEA, about 10 minutes on two idle cores ..."
      module=$(cd / && GOTOOLCHAIN=local again go mod download -json "code.gitea.io/gitea@v$GITEA" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
      rm -rf "$new"; mkdir -p "$new"; cp -r "$module" "$new/src"; chmod -R u+w "$new/src"
      (cd "$new/src" && GOTOOLCHAIN=local again go build -trimpath -tags 'sqlite sqlite_unlock_notify' -ldflags "-s -w -X main.Version=$GITEA" -o "$new/gitea" .) >&2
      mv "$new/src"/{options,templates,public} "$new/"; rm -rf "$new/src"
      mv -T "$new" "$to"
    )
  fi
  echo "$to"
}

start_gitea() {
  local ports scheme=http tls= curl=() url home
  home=$(gitea_home)
  read -ra ports < <(stable_ports 2)
  if [[ -n $TLS ]]; then
    tls; scheme=https; curl=(--cacert "$STATE/pki/ca.crt")
    tls="PROTOCOL = https"$'\n'"CERT_FILE = $STATE/pki/tls.crt"$'\n'"KEY_FILE = $STATE/pki/tls.key"
  fi
  url=$scheme://$LISTEN:${ports[0]}
  grep -q SECRET_KEY "$STATE/keys" || printf 'SECRET_KEY=%s\nINTERNAL_TOKEN=%s\n' "$(openssl rand -hex 32)" "$("$home/gitea" generate secret INTERNAL_TOKEN)" >>"$STATE/keys"
  . "$STATE/keys"
  mkdir -p "$STATE/work"
  (umask 077; cat >"$STATE/app.ini") <<END
RUN_USER = $(id -un)
RUN_MODE = prod
WORK_PATH = $STATE/work
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = $LISTEN
HTTP_PORT = ${ports[0]}
ROOT_URL = $url/
STATIC_ROOT_PATH = $home
START_SSH_SERVER = true
SSH_DOMAIN = $LISTEN
SSH_USER = git
BUILTIN_SSH_SERVER_USER = git
SSH_LISTEN_HOST = $LISTEN
SSH_LISTEN_PORT = ${ports[1]}
SSH_PORT = ${ports[1]}
SSH_SERVER_HOST_KEYS = $STATE/ssh/hostkey
OFFLINE_MODE = true
$tls
[database]
DB_TYPE = sqlite3
PATH = $STATE/work/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = $SECRET_KEY
INTERNAL_TOKEN = $INTERNAL_TOKEN
PASSWORD_HASH_ALGO = pbkdf2_v1
MIN_PASSWORD_LENGTH = 8
[repository]
DEFAULT_BRANCH = main
ENABLE_PUSH_CREATE_USER = true
ENABLE_PUSH_CREATE_ORG = true
[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = true
[webhook]
ALLOWED_HOST_LIST = *
SKIP_TLS_VERIFY = true
[queue]
TYPE = channel
[cron.update_checker]
ENABLED = false
[actions]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
[log]
MODE = console
LEVEL = Warn
END
  local as=("$home/gitea" --config "$STATE/app.ini" --work-path "$STATE/work")
  if [[ ! -s $STATE/token ]]; then
    "${as[@]}" migrate >>"$STATE/log/setup.log" 2>&1
    "${as[@]}" admin user create --admin --username midship --password "$USER_PASSWORD" --email midship@example.test --must-change-password=false >>"$STATE/log/setup.log" 2>&1
    "${as[@]}" admin user create --username reader --password "$READER_PASSWORD" --email reader@example.test --must-change-password=false >>"$STATE/log/setup.log" 2>&1
    (umask 077; "${as[@]}" admin user generate-access-token --username midship --token-name midship --scopes all --raw 2>>"$STATE/log/setup.log" | grep -oE '[0-9a-f]{40}' >"$STATE/token")
  fi
  TOKEN=$(cat "$STATE/token")
  run http "${as[@]}" web
  wait_for 180 http gitea curl -fs "${curl[@]}" "$url/api/healthz"
  echo "[$LISTEN]:${ports[1]} $(cut -d' ' -f1,2 "$STATE/ssh/hostkey.pub")" >"$STATE/ssh/known_hosts"
  local one user; for one in key:midship:"$USER_PASSWORD" reader-key:reader:"$READER_PASSWORD"; do # a second start finds the keys there
    IFS=: read -r key user pass <<<"$one"
    curl -s "${curl[@]}" -u "$user:$pass" -H 'Content-Type: application/json' "$url/api/v1/user/keys" \
      -d "{\"title\": \"midship\", \"key\": \"$(cat "$STATE/ssh/$key.pub")\"}" >>"$STATE/log/setup.log"
  done
  print_env "$url" git "${ports[1]}"
}

repo_gitea() { # [owner/]name, made for the administrator, or in an organization made on the way
  local name=${1%.git} owner=midship where=user/repos auth=(-s -H "Authorization: token $FORGE_TOKEN" -H 'Content-Type: application/json')
  [[ -z $FORGE_CA ]] || auth+=(--cacert "$FORGE_CA")
  if [[ $name == */* && ${name%%/*} != midship ]]; then
    owner=${name%%/*} where=orgs/$owner/repos
    curl "${auth[@]}" -o /dev/null "$FORGE_URL/api/v1/orgs" -d "{\"username\": \"$owner\"}"
  fi
  name=${name##*/}
  curl "${auth[@]}" -o /dev/null "$FORGE_URL/api/v1/$where" -d "{\"name\": \"$name\", \"default_branch\": \"main\", \"private\": true}"
  echo "$FORGE_URL/$owner/$name.git"; echo "$FORGE_SSH/$owner/$name.git"
}
