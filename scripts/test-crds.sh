#!/usr/bin/env bash
# Puts the definitions of objects that the Helm chart makes for operators into a directory, out of the operators' Go modules.
set -euo pipefail

directory=$1
mkdir -p "$directory"
copy() {
  local module
  # Outside of a module, so that it asks for nothing else.
  module=$(cd "$directory" && "${GO:-go}" mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  for file in "${@:2}"; do
    cp "$module/$file" "$directory/"
  done
}
copy sigs.k8s.io/gateway-api@v1.2.1 \
  config/crd/standard/gateway.networking.k8s.io_{httproutes,grpcroutes}.yaml
copy github.com/prometheus-operator/prometheus-operator@v0.79.2 \
  example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml
copy github.com/kedacore/keda/v2@v2.16.1 config/crd/bases/keda.sh_scaledobjects.yaml
chmod -R u+w "$directory"
