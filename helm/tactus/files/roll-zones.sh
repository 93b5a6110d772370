#!/bin/sh
# Restarts the ingesters of a release one zone after another: those pods that are not of the newest revision of their StatefulSet.
#   roll-zones.sh NAMESPACE LABELS [SECONDS]      LABELS select the StatefulSets and their pods
# A zone is touched when all others are whole, so that copies of every trace stay. Stopped in the middle, it goes on where it was.
set -eu

namespace=$1
labels=$2
deadline=$(($(date +%s) + ${3:-7200}))
pause=${ROLL_ZONES_PAUSE:-5}

fail() {
  echo "roll-zones: $*" >&2
  exit 1
}

# Lines of: name, replicas wanted, ready, revision wanted, generation, generation seen.
sets() {
  kubectl --namespace "$namespace" get statefulsets --selector "$labels" --sort-by .metadata.name --output \
    'jsonpath={range .items[*]}{.metadata.name} {.spec.replicas} {.status.readyReplicas} {.status.updateRevision} {.metadata.generation} {.status.observedGeneration}{"\n"}{end}'
}

# Pods of a zone that are of another revision than the given one.
outdated() {
  kubectl --namespace "$namespace" get pods --selector "$labels,zone=$1" --output \
    'jsonpath={range .items[*]}{.metadata.name} {.metadata.labels.controller-revision-hash}{"\n"}{end}' |
    while read -r pod revision; do
      if [ -n "$pod" ] && [ "$revision" != "$2" ]; then echo "$pod"; fi
    done
}

# All StatefulSets but the given one have been seen by their controller and have all their pods ready. No ready pods: the field is
# not there, and the line too short.
whole_without() {
  state=$(sets) || return 1
  echo "$state" | while read -r name wanted ready revision generation seen; do
    if [ "$name" = "$1" ]; then continue; fi
    [ -n "$seen" ] && [ "$ready" = "$wanted" ] && [ "$generation" = "$seen" ] || exit 1
  done
}

await_whole_without() {
  until whole_without "$1"; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      sets >&2 || true
      fail "not every pod of $labels is ready; nothing more was restarted"
    fi
    sleep "$pause"
  done
}

names=$(sets) || fail "cannot read StatefulSets of $labels in $namespace"
[ -n "$names" ] || fail "no StatefulSets have the labels $labels in $namespace"
# First those that are not whole: a zone that does not start is what a correction is for.
order=$(echo "$names" | while read -r name wanted ready rest; do
  if [ "$wanted" = "$ready" ] && [ -n "$rest" ]; then echo "1 $name"; else echo "0 $name"; fi
done | sort | cut -d ' ' -f 2)
for name in $order; do
  await_whole_without "$name"
  until sets | while read -r set wanted ready revision generation seen; do
    if [ "$set" = "$name" ]; then [ "$generation" = "${seen:-$generation}" ] || exit 1; fi
  done; do
    sleep "$pause"
  done
  zone=$(kubectl --namespace "$namespace" get statefulset "$name" --output 'jsonpath={.metadata.labels.zone}')
  [ -n "$zone" ] || fail "$name has no label zone"
  revision=$(kubectl --namespace "$namespace" get statefulset "$name" --output 'jsonpath={.status.updateRevision}')
  pods=$(outdated "$zone" "$revision")
  if [ -z "$pods" ]; then
    echo "$name: up to date"
    continue
  fi
  echo "$name: restarting" $pods
  # shellcheck disable=SC2086 # names of pods have no spaces
  kubectl --namespace "$namespace" delete pod $pods --wait=true
  while [ -n "$(outdated "$zone" "$revision")" ]; do
    if [ "$(date +%s)" -ge "$deadline" ]; then fail "$name: pods of the former revision stay"; fi
    sleep "$pause"
  done
done
await_whole_without ""
echo "all zones are up to date"
