{{/* Begin of all names. The longest that are made of it have 52 characters, as a StatefulSet may have, and Services 63. */}}
{{- define "tactus.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 34 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 34 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 34 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values files made for tempo-distributed name the release so. */}}
{{- define "tempo.fullname" -}}{{ include "tactus.fullname" . }}{{- end -}}

{{/* Of (context, component): name of its objects. */}}
{{- define "tactus.resourceName" -}}
{{- $context := index . 0 -}}{{- $component := index . 1 -}}
{{- include "tactus.fullname" $context -}}{{- if ne $component "all" -}}-{{ $component }}{{- end -}}
{{- end -}}

{{/* Of (context, component): what selects its pods. */}}
{{- define "tactus.selectorLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ $context.Values.nameOverride | default $context.Chart.Name }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Of (own, list of maps): the chart's own pairs, and those of the maps that have other keys. Of a key that several maps have, the last counts. */}}
{{- define "tactus.pairs" -}}
{{- $own := index . 0 -}}{{- $others := dict -}}
{{- range index . 1 -}}{{- include "tactus.overlay" (list $others (. | default dict)) -}}{{- end -}}
{{- range $key := keys ($own | fromYaml) -}}{{- $_ := unset $others $key -}}{{- end -}}
{{ $own }}
{{- with $others }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of (context, component, further labels ...): labels of an object. */}}
{{- define "tactus.labels" -}}
{{- include "tactus.pairs" (list (include "tactus.ownLabels" .) (prepend (slice . 2) (index . 0).Values.global.commonLabels)) -}}
{{- end -}}

{{- define "tactus.ownLabels" -}}
{{- $context := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "tactus.selectorLabels" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
{{- end -}}

{{- define "tactus.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "tactus.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Of (context, image): its reference. */}}
{{- define "tactus.image" -}}
{{- $context := index . 0 -}}{{- $image := index . 1 -}}
{{- with $image.registry | default $context.Values.global.image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $context.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* Lays the second map over the first, in place: maps into maps, anything else replaces. sprig's mergeOverwrite leaves out false and 0. */}}
{{- define "tactus.overlay" -}}
{{- $base := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- $old := get $base $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $old) -}}
{{- include "tactus.overlay" (list $old $value) -}}
{{- else -}}
{{- $_ := set $base $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of (value, context): YAML of a template, or of a value with templates in it. */}}
{{- define "tactus.render" -}}
{{- $value := index . 0 -}}
{{- if kindIs "string" $value }}{{ tpl $value (index . 1) }}{{ else }}{{ tpl (toYaml $value) (index . 1) }}{{ end -}}
{{- end -}}
