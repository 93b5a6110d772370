{{/* Copies of each trace, as the configuration has it. */}}
{{- define "tactus.replicationFactor" -}}
{{- $config := dict -}}
{{- if not .Values.useExternalConfig }}{{ $config = include "tactus.config" . | fromYaml }}{{ end -}}
{{- $lifecycler := ($config.ingester | default dict).lifecycler | default dict -}}
{{- ($lifecycler.ring | default dict).replication_factor | default .Values.replicationFactor -}}
{{- end -}}

{{/* What the schema cannot say: values that do not go together. */}}
{{- define "tactus.check" -}}
{{- $values := .Values -}}
{{- if hasKey $values.tempo "image" -}}
{{- fail "tempo.image names an image of Tempo: take it out, and set tactus.image if it is not the default" -}}
{{- end -}}
{{- if and (ne $values.mode "single") (eq $values.storage.trace.backend "local") (not $values.minio.enabled) (not $values.useExternalConfig) (not $values.config) -}}
{{- if not (dig "storage" "trace" "backend" "" (include "tactus.tactus" . | fromYaml).structuredConfig) -}}
{{- fail (printf "mode %s needs a bucket that all processes reach: set storage.trace.backend to s3, gcs or azure (or minio.enabled for a trial)" $values.mode) -}}
{{- end -}}
{{- end -}}
{{- $ports := include "tactus.ports" . | fromYaml -}}
{{- $named := dict "server.http_listen_port" $ports.http "server.grpc_listen_port" $ports.grpc "memberlist.bind_port" $ports.gossip -}}
{{- with $ports.internalGrpc }}{{ $_ := set $named "server.internal_grpc_listen_port" . }}{{ end -}}
{{- range (include "tactus.receivers" . | fromYaml).items -}}
{{- $protocol := .protocol | empty | ternary "" (printf ".protocols.%v" .protocol) -}}
{{- $_ := set $named (printf "distributor.receivers.%s%s.endpoint (of traces.%s)" .family $protocol .section) .port -}}
{{- end -}}
{{- range $key, $port := $named -}}
{{- if or (lt (int $port) 1) (gt (int $port) 65535) -}}
{{- fail (printf "%s: Services need a port from 1 to 65535" $key) -}}
{{- end -}}
{{- end -}}
{{- if and $values.useExternalConfig (not $values.externalConfigSecretName) -}}
{{- fail "useExternalConfig needs externalConfigSecretName" -}}
{{- end -}}
{{- if ne $values.mode "single" -}}
{{- $key := include "tactus.ingesterKey" . -}}
{{- $ingester := include "tactus.settings" (list . $key) | fromYaml -}}
{{- $factor := include "tactus.replicationFactor" . | int -}}
{{- if lt (int $ingester.replicas) $factor -}}
{{- fail (printf "%s.replicas is %d, fewer than the %d copies of each trace (replicationFactor)" $key (int $ingester.replicas) $factor) -}}
{{- end -}}
{{- if include "tactus.hasZones" $ingester -}}
{{- if lt (len $ingester.zoneAwareReplication.zones) $factor -}}
{{- fail (printf "%s.zoneAwareReplication.zones: %d zones for %d copies of each trace (replicationFactor)" $key (len $ingester.zoneAwareReplication.zones) $factor) -}}
{{- end -}}
{{- $names := list -}}
{{- range $ingester.zoneAwareReplication.zones -}}
{{- if has .name $names -}}
{{- fail (printf "%s.zoneAwareReplication.zones: two are named %s" $key .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $name := printf "%s-%s" (include "tactus.resourceName" (list $ (include "tactus.componentOf" (list $ "ingester")))) .name -}}
{{- /* A label of its pods has a hash of ten characters besides. */ -}}
{{- if gt (len $name) 52 -}}
{{- fail (printf "%s.zoneAwareReplication.zones: the StatefulSet %s would have a name of %d characters, more than 52: shorten the zone, or fullnameOverride" $key $name (len $name)) -}}
{{- end -}}
{{- end -}}
{{- if $ingester.autoscaling.enabled -}}
{{- fail (printf "%s.autoscaling does not go with zoneAwareReplication: zones would differ in size" $key) -}}
{{- end -}}
{{- end -}}
{{- if and $ingester.autoscaling.enabled (lt (int $ingester.autoscaling.minReplicas) $factor) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d, fewer than the %d copies of each trace (replicationFactor)" $key (int $ingester.autoscaling.minReplicas) $factor) -}}
{{- end -}}
{{- end -}}
{{- range (include "tactus.allComponents" . | fromYaml).items -}}
{{- $autoscaling := (include "tactus.settings" (list $ .key) | fromYaml).autoscaling -}}
{{- if and $autoscaling.enabled $autoscaling.keda.enabled (not $autoscaling.keda.triggers) -}}
{{- fail (printf "%s.autoscaling.keda.triggers: at least one" .key) -}}
{{- end -}}
{{- if and $autoscaling.enabled (lt (int $autoscaling.maxReplicas) (int $autoscaling.minReplicas)) -}}
{{- fail (printf "%s.autoscaling.maxReplicas is %d, fewer than minReplicas, %d" .key (int $autoscaling.maxReplicas) (int $autoscaling.minReplicas)) -}}
{{- end -}}
{{- if and $autoscaling.enabled (not $autoscaling.keda.enabled) (not (or $autoscaling.targetCPUUtilizationPercentage $autoscaling.targetMemoryUtilizationPercentage $autoscaling.metrics)) -}}
{{- fail (printf "%s.autoscaling needs targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" .key) -}}
{{- end -}}
{{- if and $autoscaling.enabled (or (has .key (list "minio" "memcached" "checker")) (and (eq .key "singleBinary") (eq $values.mode "single"))) -}}
{{- fail (printf "%s.autoscaling: it is not scaled" .key) -}}
{{- end -}}
{{- end -}}
{{- $gateway := $values.gateway -}}
{{- if and (not $gateway.enabled) (or $gateway.ingress.enabled $gateway.route.enabled) -}}
{{- fail "gateway.ingress and gateway.route lead to the gateway: set gateway.enabled" -}}
{{- end -}}
{{- if $gateway.enabled -}}
{{- $basic := $gateway.basicAuth -}}
{{- if and $basic.enabled (not (or $basic.existingSecret $basic.htpasswd (and $basic.username $basic.password))) -}}
{{- fail "gateway.basicAuth needs existingSecret, htpasswd, or username and password" -}}
{{- end -}}
{{- if and $basic.enabled (not $basic.existingSecret) (not $basic.htpasswd) (contains ":" $basic.username) -}}
{{- fail "gateway.basicAuth.username must not have a :, with which the password begins" -}}
{{- end -}}
{{- if and $gateway.tenants (not (and $basic.enabled $values.multitenancyEnabled)) -}}
{{- fail "gateway.tenants needs gateway.basicAuth.enabled and multitenancyEnabled" -}}
{{- end -}}
{{- range $user, $tenant := $gateway.tenants -}}
{{- if contains "$" $tenant -}}
{{- fail (printf "gateway.tenants: the tenant of %s has a $, with which variables of nginx begin" $user) -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.ingress.enabled (not $gateway.ingress.hosts) -}}
{{- fail "gateway.ingress.hosts: at least one" -}}
{{- end -}}
{{- if and $gateway.route.enabled $gateway.route.grpc (not $gateway.service.grpcOtlpPort) -}}
{{- fail "gateway.route.grpc needs gateway.service.grpcOtlpPort" -}}
{{- end -}}
{{- if and $gateway.route.enabled (not $gateway.route.parentRefs) -}}
{{- fail "gateway.route.parentRefs: at least one Gateway" -}}
{{- end -}}
{{- end -}}
{{- with $values.checker -}}
{{- if .enabled -}}
{{- if and $values.multitenancyEnabled (not .tenants) -}}
{{- fail "checker.tenants: with multitenancyEnabled at least one, whose traces it writes and reads" -}}
{{- end -}}
{{- if and (not .pushUrls) (not (or $values.traces.otlp.grpc.enabled $values.traces.otlp.http.enabled)) -}}
{{- fail "checker.pushUrls: where traces go, since traces.otlp is off" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (or (include "tactus.takesSpans" .) $values.useExternalConfig $values.config) -}}
{{- fail "traces: every receiver is off, and a distributor whose configuration names none opens the usual ports: turn one on" -}}
{{- end -}}
{{- with $values.minio -}}
{{- if and .enabled (not .existingSecret) (not (and .rootUser .rootPassword)) -}}
{{- fail "minio needs existingSecret, or rootUser and rootPassword" -}}
{{- end -}}
{{- if and .rootPassword (lt (len .rootPassword) 8) -}}
{{- fail "minio.rootPassword: 8 characters at least" -}}
{{- end -}}
{{- if and .enabled (contains "'" (print .rootUser .rootPassword)) -}}
{{- fail "minio: rootUser and rootPassword must not have a ', which ends their quotes in the configuration" -}}
{{- end -}}
{{- end -}}
{{- end -}}
