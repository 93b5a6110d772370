{{/* What the chart itself sets; `config` of components, and the user's sections, are laid over it. */}}
{{- define "tactus.baseConfig" -}}
{{- $clustered := ne .Values.mode "single" -}}
{{- $ingester := include "tactus.settings" (list . (include "tactus.ingesterKey" .)) | fromYaml -}}
multitenancy_enabled: {{ .Values.multitenancyEnabled }}
stream_over_http_enabled: {{ .Values.streamOverHTTPEnabled }}
usage_report: {reporting_enabled: {{ .Values.reportingEnabled }}}
server:
  http_listen_port: {{ .Values.server.httpListenPort }}
  grpc_listen_port: 9095
  {{- with .Values.server.internalGrpcPort }}
  internal_grpc_listen_port: {{ . }}
  {{- end }}
  log_level: {{ .Values.server.logLevel }}
  log_format: {{ .Values.server.logFormat }}
ingester:
  # A restart is short where the disk comes back; where it does not, everything must be in the bucket before.
  flush_all_on_shutdown: {{ or (not $ingester.persistence.enabled) $ingester.autoscaling.enabled }}
{{- if $clustered }}
# Load balancers send requests until they notice.
shutdown_delay: 10s
memberlist:
  abort_if_cluster_join_fails: false
  bind_port: 7946
  cluster_label: {{ printf "%s.%s" (include "tactus.fullname" .) .Release.Namespace | quote }}
{{- end }}
{{- end -}}

{{/* Rings of members; added apart, so that `config` of a component lies over them. */}}
{{- define "tactus.ringConfig" -}}
{{- $ingester := include "tactus.settings" (list . (include "tactus.ingesterKey" .)) | fromYaml -}}
{{- $memberlist := dict "kvstore" (dict "store" "memberlist") -}}
distributor:
  ring: {{ toJson $memberlist }}
compactor:
  ring: {{ toJson $memberlist }}
ingester:
  lifecycler:
    tokens_file_path: /var/tempo/tokens.json
    ring:
      kvstore: {store: memberlist}
      replication_factor: {{ .Values.replicationFactor }}
      zone_awareness_enabled: {{ include "tactus.hasZones" $ingester | eq "true" }}
{{- if .Values.metricsGenerator.enabled }}
metrics_generator:
  ring: {{ toJson $memberlist }}
{{- end }}
{{- end -}}

{{- define "tactus.receiverConfig" -}}
{{- $out := dict -}}
{{- range (include "tactus.enabledReceivers" . | fromYaml).items -}}
{{- $values := $.Values.traces -}}
{{- range splitList "." .section }}{{ $values = index $values . }}{{ end -}}
{{- $section := dict "endpoint" (printf ":%v" .port) -}}
{{- include "tactus.overlay" (list $section (deepCopy $values.receiverConfig)) -}}
{{- if .protocol -}}
{{- include "tactus.overlay" (list $out (dict .family (dict "protocols" (dict .protocol $section)))) -}}
{{- else -}}
{{- $_ := set $out .family $section -}}
{{- end -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{/* Section `storage`. */}}
{{- define "tactus.storageConfig" -}}
{{- $trace := dict "local" (dict "path" "/var/tempo/traces") "wal" (dict "path" "/var/tempo/wal") -}}
{{- include "tactus.overlay" (list $trace (deepCopy .Values.storage.trace)) -}}
{{- if .Values.minio.enabled -}}
{{- $s3 := dict "bucket" .Values.minio.bucket "endpoint" (printf "%s:9000" (include "tactus.host" (list . "minio")))
  "insecure" true "forcepathstyle" true "access_key" "${MINIO_ROOT_USER}" "secret_key" "${MINIO_ROOT_PASSWORD}" -}}
{{- $_ := set $trace "backend" "s3" -}}
{{- $_ := set $trace "s3" $s3 -}}
{{- end -}}
{{- if and $trace.block (hasKey $trace.block "dedicated_columns") -}}
{{- with $trace.block.dedicated_columns }}{{ $_ := set $trace.block "parquet_dedicated_columns" . }}{{ end -}}
{{- $_ := unset $trace.block "dedicated_columns" -}}
{{- end -}}
{{- toYaml (dict "trace" $trace) -}}
{{- end -}}

{{- define "tactus.cacheConfig" -}}
{{- $cache := tpl (toYaml .Values.cache) . | fromYaml -}}
{{- $roles := .Values.memcached.roles -}}
{{- range $cache.caches | default list }}{{ range .roles | default list }}{{ $roles = without $roles . }}{{ end }}{{ end -}}
{{- if and .Values.memcached.enabled $roles -}}
{{- $own := dict "addresses" (printf "dns+%s:11211" (include "tactus.host" (list . "memcached")))
  "consistent_hash" true "timeout" "500ms" "ttl" .Values.memcached.ttl -}}
{{- $caches := append ($cache.caches | default list) (dict "roles" $roles "memcached" $own) -}}
{{- $_ := set $cache "caches" $caches -}}
{{- end -}}
{{- toYaml $cache -}}
{{- end -}}

{{/* Of (config, section, overlay): lays a map over a section. */}}
{{- define "tactus.layOver" -}}
{{- $config := index . 0 -}}{{- $section := index . 1 -}}
{{- if not (kindIs "map" (get $config $section)) }}{{ $_ := set $config $section dict }}{{ end -}}
{{- include "tactus.overlay" (list (get $config $section) (deepCopy (index . 2))) -}}
{{- end -}}

{{/* Of (context, key, section, config): `config` of a component, with the keys that Tempo's charts have elsewhere. */}}
{{- define "tactus.componentConfig" -}}
{{- $context := index . 0 -}}{{- $key := index . 1 -}}{{- $section := index . 2 -}}{{- $config := index . 3 -}}
{{- $own := deepCopy (include "tactus.settings" (list $context $key) | fromYaml).config -}}
{{- if and (eq $section "ingester") (hasKey $own "replication_factor") -}}
{{- include "tactus.layOver" (list $own "lifecycler" (dict "ring" (dict "replication_factor" $own.replication_factor))) -}}
{{- $_ := unset $own "replication_factor" -}}
{{- end -}}
{{- if and (eq $section "distributor") (hasKey $own "cost_attribution") -}}
{{- include "tactus.layOver" (list $own "usage" (dict "cost_attribution" $own.cost_attribution)) -}}
{{- $_ := unset $own "cost_attribution" -}}
{{- end -}}
{{- include "tactus.layOver" (list $config $section $own) -}}
{{- end -}}

{{/* The configuration without `tactus.structuredConfig`. */}}
{{- define "tactus.calculatedConfig" -}}
{{- if .Values.config -}}
{{- tpl .Values.config . -}}
{{- else -}}
{{- $config := include "tactus.baseConfig" . | fromYaml -}}
{{- if ne .Values.mode "single" -}}{{- include "tactus.overlay" (list $config (include "tactus.ringConfig" . | fromYaml)) -}}{{- end -}}
{{- $server := omit .Values.server "httpListenPort" "internalGrpcPort" "logLevel" "logFormat" -}}
{{- include "tactus.layOver" (list $config "server" $server) -}}
{{- include "tactus.layOver" (list $config "memberlist" .Values.memberlist) -}}
{{- include "tactus.layOver" (list $config "distributor" (dict "receivers" (include "tactus.receiverConfig" . | fromYaml))) -}}
{{- include "tactus.layOver" (list $config "storage" (include "tactus.storageConfig" . | fromYaml)) -}}
{{- include "tactus.layOver" (list $config "cache" (include "tactus.cacheConfig" . | fromYaml)) -}}
{{- include "tactus.layOver" (list $config "overrides" .Values.overrides) -}}
{{- if not (hasKey $config.overrides "per_tenant_override_config") -}}
{{- $_ := set $config.overrides "per_tenant_override_config" "/runtime-config/overrides.yaml" -}}
{{- end -}}
{{- if .Values.metricsGenerator.enabled -}}
{{- include "tactus.layOver" (list $config "metrics_generator" (dict "storage" (dict "path" "/var/tempo/generator"))) -}}
{{- include "tactus.componentConfig" (list . "metricsGenerator" "metrics_generator" $config) -}}
{{- end -}}
{{- range $key, $section := dict "distributor" "distributor" "ingester" "ingester" "querier" "querier" "queryFrontend" "query_frontend" "compactor" "compactor" -}}
{{- include "tactus.componentConfig" (list $ $key $section $config) -}}
{{- end -}}
{{- $filled := dict -}}
{{- range $section, $value := $config -}}
{{- if or (not (kindIs "map" $value)) $value }}{{ $_ := set $filled $section $value }}{{ end -}}
{{- end -}}
{{- toYaml $filled -}}
{{- end -}}
{{- end -}}

{{/* The whole configuration. Variables are replaced before it is read as YAML: secrets need quotes, numbers must have none. */}}
{{- define "tactus.config" -}}
{{- $config := include "tactus.calculatedConfig" . | fromYaml -}}
{{- with $config.Error }}{{ fail (printf "config: %v" .) }}{{ end -}}
{{- $structured := (include "tactus.tactus" . | fromYaml).structuredConfig -}}
{{- include "tactus.overlay" (list $config (deepCopy $structured)) -}}
{{- $memberlist := kindIs "map" $config.memberlist | ternary $config.memberlist dict -}}
{{- /* A template of the user's own is left as it is, unless it begins with what the chart sets. */ -}}
{{- $isOwn := and .Values.config (not (hasKey $memberlist "cluster_label")) -}}
{{- if not (or (eq .Values.mode "single") (empty $memberlist) $isOwn (hasKey $memberlist "join_members")) -}}
{{- $address := printf "dns+%s:%s" (include "tactus.host" (list . "gossip-ring")) (include "tactus.portOf" (list $memberlist "bind_port" 7946)) -}}
{{- $_ := set $memberlist "join_members" (list $address) -}}
{{- end -}}
{{- $secret := `(?m)^([ -]*(?:access_key|secret_key|session_token|storage_account_key|encryption_key|username|(?:sentinel_)?password|bearer_token|credentials|client_id|client_secret): )(\$\{[^'\n]*\})$` -}}
{{- regexReplaceAll $secret (toYaml $config) "${1}'${2}'" -}}
{{- end -}}

{{/* Of (section, key, port of the values): the port that a key of the configuration sets. What a variable stands for is not known here: its port is that of the values. */}}
{{- define "tactus.portOf" -}}
{{- $value := index (index . 0) (index . 1) -}}
{{- or (kindIs "invalid" $value) (kindIs "string" $value) | ternary (index . 2) $value | int -}}
{{- end -}}

{{/* Ports of the configuration. An existing Secret is believed to have those of the values. */}}
{{- define "tactus.ports" -}}
{{- $config := include "tactus.config" . | fromYaml -}}
{{- $server := $config.server | default dict -}}
http: {{ include "tactus.portOf" (list $server "http_listen_port" .Values.server.httpListenPort) }}
grpc: {{ include "tactus.portOf" (list $server "grpc_listen_port" 9095) }}
internalGrpc: {{ include "tactus.portOf" (list $server "internal_grpc_listen_port" (.Values.server.internalGrpcPort | default 0)) }}
gossip: {{ include "tactus.portOf" (list ($config.memberlist | default dict) "bind_port" 7946) }}
{{- end -}}

{{/* Receivers that are on, with `port` and `tls` of the configuration. */}}
{{- define "tactus.receivers" -}}
{{- $receivers := ((include "tactus.config" . | fromYaml).distributor | default dict).receivers | default dict -}}
{{- $items := list -}}
{{- range (include "tactus.enabledReceivers" . | fromYaml).items -}}
{{- $family := index $receivers .family | default dict -}}
{{- $section := index ($family.protocols | default dict) (.protocol | default "http") -}}
{{- if not (or .protocol $section) }}{{ $section = $family }}{{ end -}}
{{- $section = $section | default dict -}}
{{- $endpoint := $section.endpoint | default .port | toString -}}
{{- if contains "${" $endpoint }}{{ $endpoint = toString .port }}{{ end -}}
{{- $tls := $section.tls | default dict -}}
{{- $_ := set . "port" (splitList ":" $endpoint | last | int) -}}
{{- $_ := set . "tls" (or $tls.cert_file $tls.cert_pem | empty | not) -}}
{{- $items = append $items . -}}
{{- end -}}
{{- toYaml (dict "items" $items) -}}
{{- end -}}

{{/* Of (context, name): one of them; nothing if it is off. */}}
{{- define "tactus.receiver" -}}
{{- $name := index . 1 -}}
{{- range (include "tactus.receivers" (index . 0) | fromYaml).items -}}
{{- if eq .name $name }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Whether variables are expanded: "true" or nothing. */}}
{{- define "tactus.expandEnv" -}}
{{- if or .Values.minio.enabled (include "tactus.tactus" . | fromYaml).expandEnv }}true{{ end -}}
{{- end -}}

{{/* Of (context, section of `server`): whether a port speaks TLS, "true" or nothing. */}}
{{- define "tactus.hasTls" -}}
{{- $context := index . 0 -}}{{- $config := dict -}}
{{- if not $context.Values.useExternalConfig }}{{ $config = include "tactus.config" $context | fromYaml }}{{ end -}}
{{- $tls := get ($config.server | default dict) (index . 1) | default dict -}}
{{- if or $tls.cert_file $tls.cert }}true{{ end -}}
{{- end -}}

{{/* Path before those of the query API: nothing, or one that begins with a slash. */}}
{{- define "tactus.apiPrefix" -}}
{{- $prefix := "" -}}
{{- if not .Values.useExternalConfig }}{{ $prefix = (include "tactus.config" . | fromYaml).http_api_prefix | default "" | trimAll "/" }}{{ end -}}
{{- with $prefix }}/{{ . }}{{ end -}}
{{- end -}}

{{/* Where probes and scrapes go: port number, and scheme HTTP or HTTPS. */}}
{{- define "tactus.probed" -}}
{{- $config := dict -}}
{{- if not .Values.useExternalConfig }}{{ $config = include "tactus.config" . | fromYaml }}{{ end -}}
{{- $internal := $config.internal_server | default dict -}}
{{- $tls := $internal.http_tls_config | default dict -}}
{{- if $internal.enable }}
port: {{ $internal.http_listen_port | default 3101 }}
name: http-internal
scheme: {{ or $tls.cert_file $tls.cert | empty | ternary "HTTP" "HTTPS" }}
internal: true
{{- else }}
port: {{ (include "tactus.ports" . | fromYaml).http }}
name: http-metrics
scheme: {{ include "tactus.hasTls" (list . "http_tls_config") | empty | ternary "HTTP" "HTTPS" }}
{{- end }}
{{- end -}}
