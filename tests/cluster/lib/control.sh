# The control plane: etcd, kube-apiserver and, in a full cluster, kube-controller-manager, kube-scheduler and the
# volume resizer. All of them run in the host's namespaces.

POD_CIDR=10.244.0.0/16 SVC_CIDR=10.96.0.0/16 HOST_IP=10.200.0.254

# the programs this cluster was started with
programs() { [[ -d ${PROGRAMS:=$(cat "$STATE/programs" 2>/dev/null)} ]] || die "$STATE holds no cluster: run \`cluster up\` first"; echo "$PROGRAMS"; }
k() { "$(programs)/kubectl" --kubeconfig "$STATE/admin.kubeconfig" "$@"; }

kubeconfig() { # name
  local to=$STATE/$1.kubeconfig
  (umask 077; cat >"$to.new") <<Y
apiVersion: v1
kind: Config
clusters: [{name: midship-test, cluster: {server: "https://$API", certificate-authority-data: $(base64 -w0 <"$STATE/pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 <"$STATE/pki/$1.crt"), client-key-data: $(base64 -w0 <"$STATE/pki/$1.key")}}]
contexts: [{name: midship-test, context: {cluster: midship-test, user: $1}}]
current-context: midship-test
Y
  mv "$to.new" "$to"
}
identity() { cert "$1" "$2"; kubeconfig "$1"; } # name subject

api_ready() { answers --cacert "$STATE/pki/ca.crt" "https://$API/readyz"; }

control_plane() { # api|full|beside controllers audit
  local ip=127.0.0.1 args=() PORT ETCD PEER who
  local parts="etcd apiserver"
  [[ $1 == api && -z $2 ]] || parts+=" controller-manager"
  [[ $1 == api ]] || parts+=" scheduler csi-loop csi-resizer"
  if [[ -e $STATE/ready ]] && all_alive $parts && API=$(<"$STATE/address") && api_ready >/dev/null 2>&1; then return; fi
  rm -f "$STATE/ready"
  running || kill_strays
  echo "$PROGRAMS" >"$STATE/programs"
  if alive etcd && { alive apiserver || [[ $1 != api ]]; }; then read -r PORT ETCD PEER <"$STATE/ports"; else
    stop 2 scheduler controller-manager apiserver etcd
    read -r PORT ETCD PEER < <(stable_ports 3)
  fi
  case $1 in
    full) ip=$HOST_IP PORT=6443 ;;
    beside) ip=$HOST_IP ;;
    api) args+=(--endpoint-reconciler-type none) ;;
  esac
  # without the controllers nobody makes the default ServiceAccount, and no pod could be created
  [[ $1 != api || -n $2 ]] || args+=(--disable-admission-plugins ServiceAccount)
  if [[ -n $3 ]]; then
    printf 'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n' >"$STATE/audit-policy.yaml"
    args+=(--audit-policy-file "$STATE/audit-policy.yaml" --audit-log-path "$STATE/log/audit.log")
  fi
  API=$ip:$PORT
  echo "$API" >"$STATE/address"
  ca
  [[ -e $STATE/pki/sa.pub ]] || { key sa; openssl ec -in "$STATE/pki/sa.key" -pubout -out "$STATE/pki/sa.new" 2>/dev/null; mv "$STATE/pki/sa.new" "$STATE/pki/sa.pub"; }
  cert apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:$HOST_IP"
  cert kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  cert front-proxy /CN=front-proxy
  identity admin /O=system:masters/CN=admin

  alive apiserver || say "starting etcd and kube-apiserver ..."
  run etcd "$PROGRAMS/etcd" --data-dir "$STATE/etcd" --listen-client-urls "http://127.0.0.1:$ETCD" --advertise-client-urls "http://127.0.0.1:$ETCD" \
    --listen-peer-urls "http://127.0.0.1:$PEER" --initial-advertise-peer-urls "http://127.0.0.1:$PEER" \
    --initial-cluster "default=http://127.0.0.1:$PEER" --unsafe-no-fsync --log-level warn
  run apiserver "$PROGRAMS/kube-apiserver" --etcd-servers "http://127.0.0.1:$ETCD" --bind-address "$ip" --secure-port "$PORT" --advertise-address "$HOST_IP" \
    --client-ca-file "$STATE/pki/ca.crt" --tls-cert-file "$STATE/pki/apiserver.crt" --tls-private-key-file "$STATE/pki/apiserver.key" \
    --kubelet-client-certificate "$STATE/pki/kubelet-client.crt" --kubelet-client-key "$STATE/pki/kubelet-client.key" \
    --kubelet-certificate-authority "$STATE/pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --requestheader-client-ca-file "$STATE/pki/ca.crt" --requestheader-allowed-names front-proxy --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$STATE/pki/front-proxy.crt" --proxy-client-key-file "$STATE/pki/front-proxy.key" --enable-aggregator-routing \
    --service-account-key-file "$STATE/pki/sa.pub" --service-account-signing-key-file "$STATE/pki/sa.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local --service-cluster-ip-range "$SVC_CIDR" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --default-not-ready-toleration-seconds 5 --default-unreachable-toleration-seconds 5 "${args[@]}" ${MIDSHIP_APISERVER_ARGS:-}
  for who in controller-manager scheduler; do identity "$who" "/CN=system:kube-$who"; done
  wait_for 180 apiserver "the API server" api_ready
  [[ $1 == api && -z $2 ]] || controllers # it ends where the API server is not there within 10 s
  [[ $1 == api ]] || run scheduler "$PROGRAMS/kube-scheduler" --kubeconfig "$STATE/scheduler.kubeconfig" --authentication-kubeconfig "$STATE/scheduler.kubeconfig" \
    --authorization-kubeconfig "$STATE/scheduler.kubeconfig" --leader-elect=false --bind-address 127.0.0.1 --secure-port 0
  [[ $1 != api || -z $2 ]] || wait_for 120 controller-manager "the default ServiceAccount" k get serviceaccount default
  [[ $1 == api ]] || addons
}

controllers() {
  run controller-manager "$PROGRAMS/kube-controller-manager" --kubeconfig "$STATE/controller-manager.kubeconfig" --use-service-account-credentials \
    --service-account-private-key-file "$STATE/pki/sa.key" --root-ca-file "$STATE/pki/ca.crt" --cluster-cidr "$POD_CIDR" --service-cluster-ip-range "$SVC_CIDR" \
    --cluster-signing-cert-file "$STATE/pki/ca.crt" --cluster-signing-key-file "$STATE/pki/ca.key" --leader-elect=false --bind-address 127.0.0.1 --secure-port 0 \
    --node-monitor-period 1s --node-monitor-grace-period "${MIDSHIP_NODE_GRACE:-8}s" --node-eviction-rate 1
}

# storage classes, DNS, and the one resizer; it asks a csi-loop of its own, since growing is each node's work
addons() {
  wait_for 120 apiserver "the add-ons" k apply --server-side --force-conflicts -f "$here/lib/addons.yaml"
  run csi-loop "$PROGRAMS/csi-loop" --socket "$STATE/run/csi.sock"
  wait_for 60 csi-loop "csi-loop" test -S "$STATE/run/csi.sock"
  run csi-resizer "$PROGRAMS/csi-resizer" --csi-address "$STATE/run/csi.sock" --kubeconfig "$STATE/admin.kubeconfig" --handle-volume-inuse-error=false
}
