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

# Lines of: name, zone, replicas wanted, generation, generation seen, revision wanted.
sets() {
  kubectl --namespace "$namespace" get statefulsets --selector "$labels" --sort-by .metadata.name --output \
    'jsonpath={range .items[*]}{.metadata.name}|{.metadata.labels.zone}|{.spec.replicas}|{.metadata.generation}|{.status.observedGeneration}|{.status.updateRevision}{"\n"}{end}'
}

# Lines of the pods of a zone: name, revision, True if it is ready, when its deletion was asked for.
pods() {
  kubectl --namespace "$namespace" get pods --selector "$labels,zone=$1" --output \
    'jsonpath={range .items[*]}{.metadata.name}|{.metadata.labels.controller-revision-hash}|{.status.conditions[?(@.type=="Ready")].status}|{.metadata.deletionTimestamp}{"\n"}{end}'
}

# Pods of a zone that are of another revision than the given one. Fails if they cannot be listed.
outdated() {
  found=$(pods "$1") || return 1
  echo "$found" | while IFS='|' read -r pod revision rest; do
    if [ -n "$pod" ] && [ "$revision" != "$2" ]; then echo "$pod"; fi
  done
}

# The zone has as many ready pods as are wanted. The pods themselves are counted: the status of a StatefulSet is what its controller
# wrote last, which may be from before they were deleted.
is_whole() {
  found=$(pods "$1") || return 1
  ready=$(echo "$found" | while IFS='|' read -r pod revision state deleted; do
    if [ "$state" = True ] && [ -z "$deleted" ]; then echo "$pod"; fi
  done | wc -l)
  [ "$ready" -eq "$2" ]
}

# All StatefulSets have been seen by their controller, and all but the given one have all their pods ready.
whole_without() {
  state=$(sets) || return 1
  echo "$state" | while IFS='|' read -r name zone wanted generation seen revision; do
    [ "$generation" = "$seen" ] || exit 1
    [ "$name" = "$1" ] || is_whole "$zone" "$wanted" || exit 1
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
order=$(echo "$names" | while IFS='|' read -r name zone wanted rest; do
  if is_whole "$zone" "$wanted"; then echo "1 $name"; else echo "0 $name"; fi
done | sort | cut -d ' ' -f 2)
for name in $order; do
  await_whole_without "$name"
  zone=$(kubectl --namespace "$namespace" get statefulset "$name" --output 'jsonpath={.metadata.labels.zone}')
  [ -n "$zone" ] || fail "$name has no label zone"
  revision=$(kubectl --namespace "$namespace" get statefulset "$name" --output 'jsonpath={.status.updateRevision}')
  pods=$(outdated "$zone" "$revision") || fail "cannot read the pods of $name"
  if [ -z "$pods" ]; then
    echo "$name: up to date"
    continue
  fi
  echo "$name: restarting" $pods
  # shellcheck disable=SC2086 # names of pods have no spaces
  kubectl --namespace "$namespace" delete pod $pods --wait=true
  until left=$(outdated "$zone" "$revision") && [ -z "$left" ]; do
    if [ "$(date +%s)" -ge "$deadline" ]; then fail "$name: pods of the former revision stay"; fi
    sleep "$pause"
  done
done
await_whole_without ""
echo "all zones are up to date"
