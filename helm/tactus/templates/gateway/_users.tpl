{{/* The file `.htpasswd`. */}}
{{- define "tactus.gateway.users" -}}
{{- $basic := .Values.gateway.basicAuth -}}
{{- if $basic.htpasswd }}{{ tpl $basic.htpasswd . }}{{ else }}{{ include "tactus.gateway.user" (list . $basic.username $basic.password) }}{{ end -}}
{{- end -}}

{{/* Of (context, user, password): a line of that file. It is the same at each rendering, unlike that of sprig's `htpasswd`, so that Argo CD and Flux
     find no change: the salt is made of who has the password. {SSHA} is the SHA-1 of password and salt, followed by the salt, in base64. */}}
{{- define "tactus.gateway.user" -}}
{{- $context := index . 0 -}}{{- $user := index . 1 -}}{{- $password := index . 2 -}}
{{- $salt := printf "%s/%s/%s" $context.Release.Namespace $context.Release.Name $user | sha256sum | trunc 15 -}}
{{- $values := dict -}}
{{- range $value, $digit := splitList "" "0123456789abcdef" }}{{ $_ := set $values $digit $value }}{{ end -}}
{{- $alphabet := splitList "" "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" -}}
{{- /* The 20 bytes of the hash and the first of the salt, `s`, are 42 digits: each three of them are two characters. The rest of the salt is text. */ -}}
{{- $digits := printf "%s73" (printf "%ss%s" $password $salt | sha1sum) | splitList "" -}}
{{- $user }}:{SSHA}
{{- range $at := untilStep 0 42 3 -}}
{{- $number := 0 -}}
{{- range slice $digits $at (add $at 3) }}{{ $number = add (mul $number 16) (get $values .) }}{{ end -}}
{{- index $alphabet (div $number 64 | int) }}{{ index $alphabet (mod $number 64 | int) -}}
{{- end -}}
{{- b64enc $salt -}}
{{- end -}}
