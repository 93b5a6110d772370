{{/* One upstream: a variable, so that its name is looked up again while nginx runs. Of (context, component, scheme, port). */}}
{{- define "tactus.gateway.upstream" -}}
{{- $context := index . 0 -}}
set $upstream {{ index . 2 }}://{{ include "tactus.host" (list $context (include "tactus.componentOf" (list $context (index . 1)))) }}:{{ index . 3 }};
{{- end -}}

{{- define "tactus.gateway.nginx" -}}
{{- $gateway := .Values.gateway -}}
{{- $config := $gateway.nginxConfig -}}
{{- $ports := include "tactus.ports" . | fromYaml -}}
{{- $http := $ports.http -}}
{{- $scheme := include "tactus.hasTls" (list . "http_tls_config") | empty | ternary "http" "https" -}}
{{- $grpc := include "tactus.hasTls" (list . "grpc_tls_config") | empty | ternary "grpc" "grpcs" -}}
{{- $prefix := include "tactus.apiPrefix" . -}}
{{- $resolver := $config.resolver | default (printf "%s.%s.svc.%s" .Values.global.dnsService .Values.global.dnsNamespace (.Values.global.clusterDomain | trimSuffix ".")) -}}
worker_processes auto;
error_log /dev/stderr error;
pid /tmp/nginx.pid;

events {
  worker_connections 4096;
}

http {
  client_body_temp_path /tmp/client_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;

  default_type application/octet-stream;
  log_format main '$remote_addr - $remote_user [$time_local] $status "$request" $body_bytes_sent $request_time "$http_user_agent"';
  {{- if $gateway.verboseLogging }}
  access_log /dev/stderr main;
  {{- else }}
  map $status $failed {
    ~^[23] 0;
    default 1;
  }
  access_log /dev/stderr main if=$failed;
  {{- end }}

  sendfile on;
  tcp_nopush on;
  server_tokens off;
  resolver {{ $resolver }} valid=10s;
  client_max_body_size {{ $config.clientMaxBodySize }};
  client_body_buffer_size 1m;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  # With its port, by which Tactus tells its own pages from those of other sites.
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_read_timeout {{ $config.readTimeout }};
  proxy_send_timeout {{ $config.readTimeout }};
  grpc_read_timeout {{ $config.readTimeout }};
  grpc_send_timeout {{ $config.readTimeout }};
  {{- if $gateway.tenants }}

  # A user without a tenant is sent on without the header, and refused there. Only expressions tell Alice from alice.
  map $remote_user $tenant {
    default "";
    {{- range $user, $tenant := $gateway.tenants }}
    {{ printf "~^%s$" (regexQuoteMeta $user) | quote }} {{ $tenant | quote }};
    {{- end }}
  }
  proxy_set_header X-Scope-OrgID $tenant;
  grpc_set_header X-Scope-OrgID $tenant;
  {{- end }}
  {{- with $config.httpSnippet }}
  {{- tpl . $ | nindent 2 }}
  {{- end }}

  server {
    listen 8080;
    {{- if include "tactus.gateway.ipv6" . }}
    listen [::]:8080;
    {{- end }}
    {{- if .Values.streamOverHTTPEnabled }}
    http2 on;
    {{- end }}
    {{- include "tactus.gateway.auth" . | nindent 4 }}

    location = / {
      auth_basic off;
      default_type text/plain;
      return 200 "OK\n";
    }
    {{- with include "tactus.receiver" (list . "otlp-http") | fromYaml }}

    location ~ ^(/otlp)?/v1/traces$ {
      {{ include "tactus.gateway.upstream" (list $ "distributor" (.tls | ternary "https" "http") .port) }}
      proxy_pass $upstream/v1/traces$is_args$args;
    }
    {{- end }}
    {{- with include "tactus.receiver" (list . "jaeger-http") | fromYaml }}

    location = /jaeger/api/traces {
      {{ include "tactus.gateway.upstream" (list $ "distributor" (.tls | ternary "https" "http") .port) }}
      proxy_pass $upstream/api/traces$is_args$args;
    }
    {{- end }}
    {{- with include "tactus.receiver" (list . "zipkin") | fromYaml }}

    location = /zipkin/spans {
      {{ include "tactus.gateway.upstream" (list $ "distributor" (.tls | ternary "https" "http") .port) }}
      proxy_pass $upstream/spans$is_args$args;
    }

    location = /zipkin/api/v2/spans {
      {{ include "tactus.gateway.upstream" (list $ "distributor" (.tls | ternary "https" "http") .port) }}
      proxy_pass $upstream/api/v2/spans$is_args$args;
    }
    {{- end }}

    location ^~ {{ $prefix }}/api {
      {{ include "tactus.gateway.upstream" (list . "query-frontend" $scheme $http) }}
      proxy_pass $upstream$request_uri;
    }

    {{- if .Values.streamOverHTTPEnabled }}

    location /tempopb.StreamingQuerier/ {
      {{ include "tactus.gateway.upstream" (list . "query-frontend" ($scheme | replace "http" "grpc") $http) }}
      grpc_pass $upstream;
    }
    {{- end }}

    # Pages; their searches answer while they run.
    location ^~ {{ $prefix }}/ui {
      proxy_buffering off;
      {{ include "tactus.gateway.upstream" (list . "query-frontend" $scheme $http) }}
      proxy_pass $upstream$request_uri;
    }
    {{- if $gateway.exposeOperations }}

    location ~ ^/(flush|shutdown)$ {
      {{ include "tactus.gateway.upstream" (list . "ingester" $scheme $http) }}
      proxy_pass $upstream$request_uri;
    }

    location ~ ^/(distributor|ingester)/ring$ {
      {{ include "tactus.gateway.upstream" (list . "distributor" $scheme $http) }}
      proxy_pass $upstream$request_uri;
    }

    location = /compactor/ring {
      {{ include "tactus.gateway.upstream" (list . "compactor" $scheme $http) }}
      proxy_pass $upstream$request_uri;
    }
    {{- end }}
    {{- with $config.serverSnippet }}
    {{- tpl . $ | nindent 4 }}
    {{- end }}
  }
  {{- if $gateway.service.grpcOtlpPort }}

  # gRPC: spans by OTLP, and streamed queries.
  server {
    listen 4317 http2;
    {{- if include "tactus.gateway.ipv6" . }}
    listen [::]:4317 http2;
    {{- end }}
    {{- include "tactus.gateway.auth" . | nindent 4 }}
    {{- with include "tactus.receiver" (list . "grpc-otlp") | fromYaml }}

    location /opentelemetry.proto.collector.trace.v1.TraceService/ {
      {{ include "tactus.gateway.upstream" (list $ "distributor" (.tls | ternary "grpcs" "grpc") .port) }}
      grpc_pass $upstream;
    }
    {{- end }}

    location /tempopb.StreamingQuerier/ {
      {{ include "tactus.gateway.upstream" (list . "query-frontend" $grpc $ports.grpc) }}
      grpc_pass $upstream;
    }
  }
  {{- end }}
}
{{- end -}}

{{/* Whether nginx listens on IPv6, too: "true" or nothing. */}}
{{- define "tactus.gateway.ipv6" -}}
{{- $service := (include "tactus.tactus" . | fromYaml).service -}}
{{- $isWanted := or (has "IPv6" ($service.ipFamilies | default list)) (eq ($service.ipFamilyPolicy | default "") "RequireDualStack") -}}
{{- $set := .Values.gateway.nginxConfig.enableIPv6 -}}
{{- if kindIs "bool" $set | ternary $set $isWanted }}true{{ end -}}
{{- end -}}

{{- define "tactus.gateway.auth" -}}
{{- if .Values.gateway.basicAuth.enabled -}}
auth_basic "Tactus";
auth_basic_user_file /etc/nginx/secrets/.htpasswd;
{{- end -}}
{{- end -}}
