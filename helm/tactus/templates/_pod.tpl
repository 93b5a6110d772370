{{/* Of (context, component, settings, zone): what a pod's spec has whatever runs in it. */}}
{{- define "tactus.podCommon" -}}
{{- $context := index . 0 -}}{{- $component := index . 1 -}}{{- $settings := index . 2 -}}{{- $zone := index . 3 -}}
{{- $tactus := include "tactus.tactus" $context | fromYaml -}}
{{- $global := $context.Values.global -}}
{{- $tplContext := mustMerge (dict "context" $context "component" $component) $context -}}
{{- with concat $global.image.pullSecrets ($tactus.image.pullSecrets | default list) | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
  {{- end }}
{{- end }}
serviceAccountName: {{ include "tactus.serviceAccountName" $context }}
automountServiceAccountToken: {{ $context.Values.serviceAccount.automountServiceAccountToken }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $settings.terminationGracePeriodSeconds }}
{{- with $settings.priorityClassName | default $global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml $tactus.podSecurityContext | nindent 2 }}
{{- with $settings.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $nodes := deepCopy $settings.nodeSelector -}}
{{- with $zone }}{{ include "tactus.overlay" (list $nodes (.nodeSelector | default dict)) }}{{ end -}}
{{- with $nodes }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := include "tactus.render" (list ($settings.affinity | default dict) $tplContext) | fromYaml -}}
{{- with $zone -}}
{{- include "tactus.overlay" (list $affinity (.extraAffinity | default dict)) -}}
{{- with $settings.zoneAwareReplication.topologyKey -}}
{{- $apart := dict "labelSelector" (dict
  "matchLabels" (include "tactus.selectorLabels" (list $context $component) | fromYaml)
  "matchExpressions" (list (dict "key" "zone" "operator" "NotIn" "values" (list $zone.name)))) "topologyKey" . -}}
{{- $pods := $affinity.podAntiAffinity | default dict -}}
{{- $rule := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $_ := set $pods $rule (append (get $pods $rule | default list) $apart) -}}
{{- $_ := set $affinity "podAntiAffinity" $pods -}}
{{- end -}}
{{- end -}}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and $settings.topologySpreadConstraints (not $zone) }}
topologySpreadConstraints:
  {{- include "tactus.render" (list $settings.topologySpreadConstraints $tplContext) | nindent 2 }}
{{- end }}
{{- with $settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of (settings, probed): probes, `httpGet` with the scheme and port of the configuration. */}}
{{- define "tactus.probes" -}}
{{- $settings := index . 0 -}}{{- $probed := index . 1 -}}
{{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" -}}
{{- $probe := deepCopy (get $settings $name | default dict) -}}
{{- if or $probe.httpGet $probe.exec $probe.grpc -}}
{{- with $probe.tcpSocket }}{{ $_ := unset $probe "tcpSocket" }}{{ end -}}
{{- end -}}
{{- if and $probed $probe.httpGet (eq ($probe.httpGet.port | toString) "http-metrics") -}}
{{- $_ := set $probe.httpGet "port" $probed.name -}}
{{- if and (not $probe.httpGet.scheme) (ne $probed.scheme "HTTP") }}{{ $_ := set $probe.httpGet "scheme" $probed.scheme }}{{ end -}}
{{- end -}}
{{- with $probe }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of (context, component, zone): what Services and StatefulSets find its pods by. */}}
{{- define "tactus.selectedLabels" -}}
{{- include "tactus.selectorLabels" . }}
{{- if ne (index . 0).Values.mode "single" }}
app.kubernetes.io/part-of: memberlist
{{- end }}
{{- with index . 2 }}
zone: {{ .name }}
{{- end }}
{{- end -}}

{{/* The update strategy of a Deployment: `rollingUpdate`, which has defaults, goes with its own type alone. */}}
{{- define "tactus.strategy" -}}
{{- $isRolling := .type | default "RollingUpdate" | eq "RollingUpdate" -}}
{{- toYaml ($isRolling | ternary . (omit . "rollingUpdate")) -}}
{{- end -}}

{{/* Of (context, kind, name, settings, replicas): how many pods. With autoscaling as many as there are: without a number the next upgrade would
     leave one. */}}
{{- define "tactus.replicas" -}}
{{- $settings := index . 3 -}}
{{- if not $settings.autoscaling.enabled -}}
replicas: {{ index . 4 }}
{{- else -}}
{{- with lookup "apps/v1" (index . 1) (index . 0).Release.Namespace (index . 2) -}}
replicas: {{ .spec.replicas }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Pods start anew when their configuration changes. */}}
{{- define "tactus.checksum" -}}
{{- if .Values.useExternalConfig -}}
checksum/config: {{ printf "%s/%v" .Values.externalConfigSecretName .Values.externalConfigVersion | sha256sum }}
{{- else -}}
checksum/config: {{ include "tactus.config" . | sha256sum }}
{{- end -}}
{{- end -}}

{{/* Of (context, item, settings, zone): the pod template of a Tactus component. */}}
{{- define "tactus.podTemplate" -}}
{{- $context := index . 0 -}}{{- $item := index . 1 -}}{{- $settings := index . 2 -}}{{- $zone := index . 3 -}}
{{- $tactus := include "tactus.tactus" $context | fromYaml -}}
{{- $global := $context.Values.global -}}
{{- $component := $item.component -}}
{{- $probed := include "tactus.probed" $context | fromYaml -}}
{{- $image := deepCopy $tactus.image -}}
{{- include "tactus.overlay" (list $image $settings.image) -}}
metadata:
  labels:
    {{- $labels := list $global.commonLabels $global.podLabels $tactus.podLabels $settings.podLabels }}
    {{- include "tactus.pairs" (list (include "tactus.selectedLabels" (list $context $component $zone)) $labels) | nindent 4 }}
  annotations:
    {{- $annotations := list $global.podAnnotations $tactus.podAnnotations $settings.podAnnotations }}
    {{- include "tactus.pairs" (list (include "tactus.checksum" $context) $annotations) | nindent 4 }}
spec:
  {{- include "tactus.podCommon" (list $context $component $settings $zone) | nindent 2 }}
  {{- with $settings.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ $component | replace "all" "tactus" }}
      image: {{ include "tactus.image" (list $context $image) }}
      imagePullPolicy: {{ $image.pullPolicy }}
      args:
        - -target={{ $component }}
        - -config.file=/conf/tempo.yaml
        {{- if include "tactus.expandEnv" $context }}
        - -config.expand-env=true
        {{- end }}
        {{- with $zone }}
        - -ingester.availability-zone={{ .name }}
        {{- end }}
        {{- range concat $global.extraArgs $settings.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      {{- $env := concat $global.extraEnv $settings.extraEnv }}
      {{- if or $env $context.Values.minio.enabled }}
      env:
        {{- if $context.Values.minio.enabled }}
        {{- include "tactus.minioEnv" $context | nindent 8 }}
        {{- end }}
        {{- with $env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with concat $global.extraEnvFrom $settings.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- include "tactus.containerPorts" (list $context $item $probed) | nindent 8 }}
      {{- include "tactus.probes" (list $settings $probed) | nindent 6 }}
      {{- with $settings.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml $tactus.securityContext | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /conf, readOnly: true}
        - {name: runtime-config, mountPath: /runtime-config, readOnly: true}
        - {name: data, mountPath: /var/tempo}
        {{- with $settings.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $settings.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      {{- if $context.Values.useExternalConfig }}
      secret:
        secretName: {{ tpl $context.Values.externalConfigSecretName $context }}
        items: [{key: {{ $context.Values.externalConfigKey }}, path: tempo.yaml}]
      {{- else if eq $context.Values.configStorageType "Secret" }}
      secret:
        secretName: {{ include "tactus.fullname" $context }}-config
      {{- else }}
      configMap:
        name: {{ include "tactus.fullname" $context }}-config
      {{- end }}
    - name: runtime-config
      {{- if eq $context.Values.configStorageType "Secret" }}
      secret:
        secretName: {{ include "tactus.fullname" $context }}-runtime
      {{- else }}
      configMap:
        name: {{ include "tactus.fullname" $context }}-runtime
      {{- end }}
    {{- include "tactus.dataVolume" $settings | nindent 4 }}
    {{- with $settings.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Of settings: the volume `data`, unless it is claimed. */}}
{{- define "tactus.dataVolume" -}}
{{- $persistence := .persistence | default dict -}}
{{- if not $persistence.enabled -}}
- name: data
  emptyDir: {{ if $persistence.inMemory }}{medium: Memory, sizeLimit: {{ $persistence.size }}}{{ else }}{}{{ end }}
{{- end -}}
{{- end -}}

{{/* Of (settings, storage class of the zone, default of all): the claim of the volume `data`, with the keys that servers add: Argo CD finds no difference. */}}
{{- define "tactus.claim" -}}
{{- $persistence := (index . 0).persistence -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: data
    {{- with $persistence.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $persistence.labels }}
    labels:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      {{- toYaml $persistence.accessModes | nindent 6 }}
    {{- with (index . 1) | default $persistence.storageClass | default (index . 2) }}
    storageClassName: {{ . | replace "-" "" | empty | ternary "\"\"" . }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end -}}

{{/* Of (context, item, probed): ports of a Tactus container. */}}
{{- define "tactus.containerPorts" -}}
{{- $context := index . 0 -}}{{- $item := index . 1 -}}{{- $probed := index . 2 -}}
{{- $ports := include "tactus.ports" $context | fromYaml -}}
- {name: http-metrics, containerPort: {{ $ports.http }}}
- {name: grpc, containerPort: {{ $ports.grpc }}}
{{- with $ports.internalGrpc }}
- {name: grpc-internal, containerPort: {{ . }}}
{{- end }}
{{- if $probed.internal }}
- {name: http-internal, containerPort: {{ $probed.port }}}
{{- end }}
{{- if ne $context.Values.mode "single" }}
- {name: http-memberlist, containerPort: {{ $ports.gossip }}}
{{- end }}
{{- if has $item.component (list "all" "distributor") }}
{{- range (include "tactus.receivers" $context | fromYaml).items }}
- {name: {{ .name }}, containerPort: {{ .port }}, protocol: {{ .transport }}}
{{- end }}
{{- end }}
{{- range (include "tactus.clientPorts" (list $context $item.component) | fromYaml).items }}
- {name: {{ .name }}, containerPort: {{ .port }}}
{{- end }}
{{- end -}}

{{/* Credentials of MinIO as variables. */}}
{{- define "tactus.minioEnv" -}}
{{- $secret := .Values.minio.existingSecret | default (include "tactus.resourceName" (list . "minio")) -}}
- name: MINIO_ROOT_USER
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: rootUser}}
- name: MINIO_ROOT_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: rootPassword}}
{{- end -}}
