{{- define "sidegate.name" -}}
{{- if contains "sidegate" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-sidegate" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "sidegate.labels" -}}
app.kubernetes.io/name: sidegate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "sidegate.injector.labels" -}}
app.kubernetes.io/name: sidegate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: injector
{{- end }}

{{- /* The image that runs, here and in the pods. */}}
{{- define "sidegate.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The keys of the sidecar's own file. tests/chart compares them with the product's types. */}}
{{- define "sidegate.keys" -}}
upstream listen ops admin allow_shutdown forward_proxy limits queue retry outage timeouts body pool downstream drain routes fleet log
{{- end }}

{{- /* Values that only the chart knows. tests/chart compares them with the product's types. */}}
{{- define "sidegate.chartKeys" -}}
global namespaces injector podMonitor serviceMonitor alerts dashboards trial
{{- end }}

{{- /* The sidecar's file: for all, or with what a service says on top. Call with a dict of "root" and "over". */}}
{{- define "sidegate.config" -}}
{{- $values := mergeOverwrite (deepCopy (omit .root.Values "services" "global")) (deepCopy .over) -}}
{{- $config := dict -}}
{{- range $key := splitList " " (include "sidegate.keys" .) -}}
{{- if hasKey $values $key }}{{ $_ := set $config $key (get $values $key) }}{{ end -}}
{{- end -}}
{{ include "sidegate.yaml" $config }}
{{- end }}

{{- /* YAML as the sidecar reads it, which goes by 1.2: Helm, which goes by 1.1, has made true of an unquoted key `on`. */}}
{{- define "sidegate.yaml" -}}
{{ regexReplaceAll "(?m)^([ -]*)\"?true\"?:" (toYaml .) "${1}\"on\":" }}
{{- end }}

{{- /* What the webhook goes by: the values, but for what only the chart knows. */}}
{{- define "sidegate.plan" -}}
{{- $plan := deepCopy (.Values | toYaml | fromYaml) -}}
{{- range $key := splitList " " (include "sidegate.chartKeys" .) }}{{ $_ := unset $plan $key }}{{ end -}}
{{- $_ := set $plan "kubeVersion" .Capabilities.KubeVersion.Version -}}
{{- $_ := set $plan "configMap" (include "sidegate.name" .) -}}
{{- $_ := set $plan "configMapNamespaces" (concat (list .Release.Namespace) .Values.namespaces | uniq) -}}
{{ include "sidegate.yaml" $plan }}
{{- end }}

{{- /* Pairs of values that cannot be, each with a sentence. The product checks the same ones; tests/chart holds the two together. */}}
{{- define "sidegate.check" -}}
{{- $v := .Values -}}
{{- if not $v.upstream.url }}{{ fail "upstream.url: required: the base URL of the server the sidecars stand in front of, for example --set upstream.url=https://data.example.com/api" }}{{ end -}}
{{- if not (regexMatch "^https?://[^/?#@\\s]+(/[^?#\\s]*)?$" $v.upstream.url) }}{{ fail (printf "upstream.url: has the form http://host[:port][/path] or https://…, without query, fragment or credentials (got %q)" $v.upstream.url) }}{{ end -}}
{{- with $v.limits.concurrency }}
{{- if and (eq .mode "fixed") (not .limit) }}{{ fail "limits.concurrency: mode fixed needs a limit" }}{{ end -}}
{{- if gt (int .min) (int .max) }}{{ fail "limits.concurrency: min may not exceed max" }}{{ end -}}
{{- end -}}
{{- with $v.upstream.tls }}
{{- if ne (empty .client_cert_file) (empty .client_key_file) }}{{ fail "upstream.tls: client_cert_file and client_key_file go together" }}{{ end -}}
{{- end -}}
{{- if $v.forward_proxy.enabled }}{{ fail "forward_proxy.enabled: not in this release; leave it false" }}{{ end -}}
{{- if ne $v.fleet.mode "local" }}{{ fail (printf "fleet.mode %s: not in this release; use local" $v.fleet.mode) }}{{ end -}}
{{- range $name, $_ := $v.services }}
{{- if or (eq $name "config") (not (regexMatch "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$" $name)) }}{{ fail (printf "services.%s: expected what a label can hold, and not config, which is the file of all others" $name) }}{{ end -}}
{{- end -}}
{{- if regexMatch "^(localhost|127[.].*|\\[::1\\]):" $v.ops }}{{ fail (printf "ops: the kubelet asks at the pod's address, not at loopback; listen at 0.0.0.0 or [::] (got %s)" $v.ops) }}{{ end -}}
{{- with $v.injector.tls }}
{{- if and (eq .mode "existing") (or (not .secretName) (not .caBundle)) }}{{ fail "injector.tls: mode existing needs secretName and caBundle" }}{{ end -}}
{{- if le (int .days) (int .renewDays) }}{{ fail "injector.tls: renewDays must be less than days" }}{{ end -}}
{{- end -}}
{{- if and (eq $v.capture.mode "redirect") (not $v.runAsUser) }}{{ fail "capture.mode redirect: runAsUser: required, for the sidecar's own calls go past the rules by it" }}{{ end -}}
{{- end }}
