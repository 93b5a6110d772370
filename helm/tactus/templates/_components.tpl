{{/* The Tactus processes of the mode: `items` of key (section of the values), component, target and kind. */}}
{{- define "tactus.components" -}}
items:
{{- if eq .Values.mode "distributed" }}
  - {key: distributor, component: distributor, kind: Deployment}
  - {key: ingester, component: ingester, kind: StatefulSet}
  - {key: querier, component: querier, kind: Deployment}
  - {key: queryFrontend, component: query-frontend, kind: Deployment}
  - {key: compactor, component: compactor, kind: Deployment}
  {{- if .Values.metricsGenerator.enabled }}
  - {key: metricsGenerator, component: metrics-generator, kind: StatefulSet}
  {{- end }}
{{- else }}
  - {key: singleBinary, component: all, kind: StatefulSet}
{{- end }}
{{- end -}}

{{/* All components with pods of their own, those of others included. */}}
{{- define "tactus.allComponents" -}}
{{ include "tactus.components" . }}
{{- if .Values.gateway.enabled }}
  - {key: gateway, component: gateway, kind: Deployment}
{{- end }}
{{- if .Values.memcached.enabled }}
  - {key: memcached, component: memcached, kind: StatefulSet}
{{- end }}
{{- if .Values.minio.enabled }}
  - {key: minio, component: minio, kind: StatefulSet}
{{- end }}
{{- if .Values.checker.enabled }}
  - {key: checker, component: checker, kind: Deployment}
{{- end }}
{{- end -}}

{{/* Of (context, key): settings of a component: its section over `defaults`. */}}
{{- define "tactus.settings" -}}
{{- $context := index . 0 -}}{{- $key := index . 1 -}}
{{- $settings := deepCopy $context.Values.defaults -}}
{{- include "tactus.overlay" (list $settings (deepCopy (index $context.Values $key))) -}}
{{- if and (eq $key "singleBinary") (eq $context.Values.mode "single") -}}{{- $_ := set $settings "replicas" 1 -}}{{- end -}}
{{- if has $key (list "minio" "checker") -}}{{- $_ := set $settings "replicas" 1 -}}{{- end -}}
{{- /* A probe of its own kind replaces that of another. */ -}}
{{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" -}}
{{- $own := pick (get (index $context.Values $key) $name | default dict) "httpGet" "tcpSocket" "grpc" "exec" -}}
{{- if $own -}}
{{- $_ := set $settings $name (merge $own (omit (get $settings $name) "httpGet" "tcpSocket" "grpc" "exec")) -}}
{{- end -}}
{{- end -}}
{{- $autoscaling := $settings.autoscaling -}}
{{- include "tactus.overlay" (list $autoscaling (omit $autoscaling.hpa "enabled")) -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* `tactus` with the older `tempo` laid over it. */}}
{{- define "tactus.tactus" -}}
{{- $tactus := deepCopy .Values.tactus -}}
{{- include "tactus.overlay" (list $tactus (deepCopy .Values.tempo)) -}}
{{- toYaml $tactus -}}
{{- end -}}

{{/* Of settings: "true" where its pods are spread over StatefulSets of zones. */}}
{{- define "tactus.hasZones" -}}
{{- $settings := . -}}
{{- if and (hasKey $settings "zoneAwareReplication") $settings.zoneAwareReplication.enabled -}}true{{- end -}}
{{- end -}}

{{/* The section of those who keep spans. */}}
{{- define "tactus.ingesterKey" -}}
{{- if eq .Values.mode "distributed" }}ingester{{ else }}singleBinary{{ end -}}
{{- end -}}

{{/* Component that answers queries, takes spans, merges blocks, keeps spans. */}}
{{- define "tactus.componentOf" -}}
{{- if eq (index . 0).Values.mode "distributed" }}{{ index . 1 }}{{ else }}all{{ end -}}
{{- end -}}

{{/* Of (context, component): its Service as a full name. */}}
{{- define "tactus.host" -}}
{{- $context := index . 0 -}}
{{- include "tactus.resourceName" . }}.{{ $context.Release.Namespace }}.svc.{{ $context.Values.global.clusterDomain | trimSuffix "." -}}
{{- end -}}

{{/* Receivers that are on: `items` of name (as in the configuration), port of the values, protocol, service port's name. */}}
{{- define "tactus.enabledReceivers" -}}
{{- $traces := .Values.traces -}}
items:
{{- if $traces.otlp.grpc.enabled }}
  - {family: otlp, protocol: grpc, section: otlp.grpc, port: {{ $traces.otlp.grpc.port }}, transport: TCP, name: grpc-otlp, grpc: true}
{{- end }}
{{- if $traces.otlp.http.enabled }}
  - {family: otlp, protocol: http, section: otlp.http, port: {{ $traces.otlp.http.port }}, transport: TCP, name: otlp-http}
{{- end }}
{{- if $traces.jaeger.grpc.enabled }}
  - {family: jaeger, protocol: grpc, section: jaeger.grpc, port: {{ $traces.jaeger.grpc.port }}, transport: TCP, name: grpc-jaeger, grpc: true}
{{- end }}
{{- if $traces.jaeger.thriftHttp.enabled }}
  - {family: jaeger, protocol: thrift_http, section: jaeger.thriftHttp, port: {{ $traces.jaeger.thriftHttp.port }}, transport: TCP, name: jaeger-http}
{{- end }}
{{- if $traces.jaeger.thriftCompact.enabled }}
  - {family: jaeger, protocol: thrift_compact, section: jaeger.thriftCompact, port: {{ $traces.jaeger.thriftCompact.port }}, transport: UDP, name: jaeger-compact}
{{- end }}
{{- if $traces.jaeger.thriftBinary.enabled }}
  - {family: jaeger, protocol: thrift_binary, section: jaeger.thriftBinary, port: {{ $traces.jaeger.thriftBinary.port }}, transport: UDP, name: jaeger-binary}
{{- end }}
{{- if $traces.zipkin.enabled }}
  - {family: zipkin, port: {{ $traces.zipkin.port }}, section: zipkin, transport: TCP, name: zipkin}
{{- end }}
{{- end -}}

{{/* Of (context, component): the ports on which it answers clients of Jaeger and Zipkin. They are on unless the configuration has an empty endpoint;
     with a variable in it, they are the usual ones. */}}
{{- define "tactus.clientPorts" -}}
{{- $context := index . 0 -}}{{- $component := index . 1 -}}
{{- $config := dict -}}
{{- if not $context.Values.useExternalConfig }}{{ $config = include "tactus.config" $context | fromYaml }}{{ end -}}
{{- $ports := list -}}
{{- if has $component (list "all" "query-frontend") -}}
{{- $apis := $config.query_frontend | default dict -}}
{{- $jaeger := $apis.jaeger | default dict -}}
{{- $ports = list (list "jaeger-query" 16686 $jaeger.http) (list "grpc-jaeger-api" 16685 $jaeger.grpc) (list "grpc-storage" 7777 $jaeger.storage) -}}
{{- if not (and (eq $component "all") $context.Values.traces.zipkin.enabled) -}}
{{- $ports = append $ports (list "zipkin-query" 9411 $apis.zipkin) -}}
{{- end -}}
{{- end -}}
{{- if has $component (list "all" "distributor") -}}
{{- $sampling := $config.sampling | default dict -}}
{{- $ports = concat $ports (list (list "sampling" 5778 $sampling.http) (list "grpc-sampling" 5779 $sampling.grpc)) -}}
{{- end -}}
items:
{{- range $port := $ports }}
{{- $endpoint := (index $port 2 | default dict).endpoint }}
{{- if or (kindIs "invalid" $endpoint) (contains "${" ($endpoint | toString)) }}{{ $endpoint = index $port 1 | toString }}{{ end }}
{{- with $endpoint }}
  - {name: {{ index $port 0 }}, port: {{ splitList ":" . | last }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether one of the receivers is on: "true" or nothing. */}}
{{- define "tactus.takesSpans" -}}
{{- if (include "tactus.enabledReceivers" . | fromYaml).items }}true{{ end -}}
{{- end -}}
