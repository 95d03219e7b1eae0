{{- /* The release's name as a Service may be called: no dots, a letter first, room for what comes behind. */}}
{{- define "sidegate.name" -}}
{{- $name := replace "." "-" .Release.Name -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "sidegate-%s" $name }}{{ end -}}
{{- if not (contains "sidegate" $name) }}{{ $name = printf "%s-sidegate" $name }}{{ end -}}
{{- regexReplaceAll "-+$" (trunc 50 $name) "" -}}
{{- end }}

{{- define "sidegate.labels" -}}
app.kubernetes.io/name: sidegate
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Somebody's labels and ours, which win. Call with a dict of "root" and "more". */}}
{{- define "sidegate.labelsWith" -}}
{{- merge (include "sidegate.labels" .root | fromYaml) (deepCopy (.more | default dict)) | toYaml -}}
{{- end }}

{{- define "sidegate.injector.labels" -}}
app.kubernetes.io/name: sidegate
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: injector
{{- end }}

{{- /* The webhook's Secret. cert-manager's has a name of its own: Helm takes over none that it did not make, and deletes its own. */}}
{{- define "sidegate.injector.secret" -}}
{{- $name := printf "%s-injector" (include "sidegate.name" .) -}}
{{- .Values.injector.tls.secretName | default (ternary (printf "%s-cert" $name) $name (eq .Values.injector.tls.mode "certManager")) -}}
{{- end }}

{{- /* The image that runs, here and in the pods. */}}
{{- define "sidegate.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The keys of the sidecar's own file. tests/chart compares them with the product's types. */}}
{{- define "sidegate.keys" -}}
upstream listen ops admin allow_shutdown allow_drain forward_proxy limits queue retry outage timeouts body pool downstream drain routes fleet log
{{- end }}

{{- /* Values that only the chart knows. tests/chart compares them with the product's types. */}}
{{- define "sidegate.chartKeys" -}}
global enabled namespaces injector podMonitor serviceMonitor alerts dashboards trial
{{- end }}

{{- /* The sidecar's file: for all, or with what a service says on top. Call with a dict of "root" and "over". */}}
{{- define "sidegate.config" -}}
{{- $values := deepCopy (omit .root.Values "services" "global") -}}
{{- $over := deepCopy .over -}}
{{- include "sidegate.on" $values -}}{{- include "sidegate.on" $over -}}
{{- $values = mergeOverwrite $values $over -}}
{{- $config := dict -}}
{{- range $key := splitList " " (include "sidegate.keys" .) -}}
{{- if hasKey $values $key }}{{ $_ := set $config $key (get $values $key) }}{{ end -}}
{{- end -}}
{{- with include "sidegate.peers" (dict "root" .root "v" $values) | fromJsonArray -}}
{{- $_ := set $config "fleet" (set (deepCopy $values.fleet) "peers" .) -}}
{{- end -}}
{{ include "sidegate.yaml" $config }}
{{- end }}

{{- /* Namespaces that hold the configuration, as a JSON list. Call with the chart's context. */}}
{{- define "sidegate.namespaces" -}}
{{- concat (list .Release.Namespace) (.Values.namespaces | default list) | uniq | toJson -}}
{{- end }}

{{- /* Which pods belong together. Call with the values of one service. proxy/inject/fleet.py says what the next three are for. */}}
{{- define "sidegate.fleetName" -}}
{{- $url := urlParse .upstream.url -}}
{{- $host := $url.host | lower | trimSuffix (ternary ":443" ":80" (eq $url.scheme "https")) -}}
{{- .fleet.name | default (printf "%s://%s" $url.scheme (regexReplaceAll "[.](:[0-9]+)?$" $host "${1}")) -}}
{{- end }}

{{- /* That, as a label can hold it. */}}
{{- define "sidegate.fleetLabel" -}}
{{- regexReplaceAll "^[-_.]+|[-_.]+$" (regexReplaceAll "[^A-Za-z0-9_.-]+" (include "sidegate.fleetName" .) "-" | trunc 63) "" -}}
{{- end }}

{{- /* The Service that selects by it. Call with a dict of "root" and "v", the values of one service. */}}
{{- define "sidegate.fleetService" -}}
{{- printf "%s-%s" (include "sidegate.name" .root) (include "sidegate.fleetName" .v | sha256sum | trunc 8) -}}
{{- end }}

{{- /* Whether pods find each other: not where they learn alone, nor where they meet in a Redis. Empty for no. Called as fleetName is. */}}
{{- define "sidegate.findsPods" -}}
{{- $mode := .fleet.mode | default "auto" -}}
{{- if not (or (eq $mode "alone") (eq $mode "redis") (and (eq $mode "auto") .fleet.redis_url)) }}yes{{ end -}}
{{- end }}

{{- /* Where the pods of one upstream are read, as a JSON list; empty where they learn alone or somebody has said where. Called so, too. */}}
{{- define "sidegate.peers" -}}
{{- $peers := list -}}
{{- if and (include "sidegate.findsPods" .v) (not .v.fleet.peers) -}}
{{- $service := include "sidegate.fleetService" . -}}
{{- $port := include "sidegate.port" .v.ops -}}
{{- range include "sidegate.namespaces" .root | fromJsonArray }}{{ $peers = append $peers (printf "%s.%s.svc:%s" $service . $port) }}{{ end -}}
{{- end -}}
{{- toJson $peers -}}
{{- end }}

{{- /* YAML as the sidecar reads it, which goes by 1.2: Helm, which goes by 1.1, has made true of an unquoted key `on`, and false of `off`. */}}
{{- define "sidegate.yaml" -}}
{{- $tree := deepCopy . -}}
{{- include "sidegate.on" $tree -}}
{{ regexReplaceAll "(?m)^([ -]*)(mode|access): false$" (toYaml $tree) "${1}${2}: \"off\"" }}
{{- end }}

{{- /* Gives each key `on` of a tree its name back, in place. It wins over one in quotes, which is then the chart's default. */}}
{{- define "sidegate.on" -}}
{{- if kindIs "map" . -}}
{{- range $key, $below := . }}{{ include "sidegate.on" $below }}{{ end -}}
{{- if hasKey . "true" }}{{ $_ := set . "on" (get . "true") }}{{ $_ := unset . "true" }}{{ end -}}
{{- else if kindIs "slice" . -}}
{{- range . }}{{ include "sidegate.on" . }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* What the webhook goes by: the values, but for what only the chart knows. */}}
{{- define "sidegate.plan" -}}
{{- $plan := deepCopy (.Values | toYaml | fromYaml) -}}
{{- range $key := splitList " " (include "sidegate.chartKeys" .) }}{{ $_ := unset $plan $key }}{{ end -}}
{{- $_ := set $plan "kubeVersion" .Capabilities.KubeVersion.Version -}}
{{- $_ := set $plan "configMap" (include "sidegate.name" .) -}}
{{- $_ := set $plan "configMapNamespaces" (include "sidegate.namespaces" . | fromJsonArray) -}}
{{ include "sidegate.yaml" $plan }}
{{- end }}

{{- /* Pairs of values that cannot be, each with a sentence. The product checks the same ones; tests/chart holds the two together. */}}
{{- define "sidegate.check" -}}
{{- $v := .Values -}}
{{- if not $v.upstream.url }}{{ fail "upstream.url: required: the base URL of the server the sidecars stand in front of, for example --set upstream.url=https://data.example.com/api" }}{{ end -}}
{{- include "sidegate.checkPairs" (dict "v" $v "at" "") -}}
{{- range $name, $over := $v.services }}
{{- if or (eq $name "config") (not (regexMatch "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$" $name)) }}{{ fail (printf "services.%s: expected what a label can hold, and not config, which is the file of all others" $name) }}{{ end -}}
{{- $whole := mergeOverwrite (deepCopy (omit $v "services" "global")) (deepCopy ($over | default dict)) -}}
{{- include "sidegate.checkPairs" (dict "v" $whole "at" (printf "services.%s." $name)) -}}
{{- end -}}
{{- with $v.injector.tls }}
{{- if and (eq .mode "existing") (or (not .secretName) (not .caBundle)) }}{{ fail "injector.tls: mode existing needs secretName and caBundle" }}{{ end -}}
{{- if le (int .days) (int .renewDays) }}{{ fail "injector.tls: renewDays must be less than days" }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* Those of the values for all, and of each service's. Call with a dict of "v", the values, and "at", what their paths begin with. */}}
{{- define "sidegate.checkPairs" -}}
{{- $v := .v -}}
{{- $at := .at -}}
{{- if not (regexMatch "^https?://[^/?#@\\s]+(/[^?#\\s]*)?$" $v.upstream.url) }}{{ fail (printf "%supstream.url: has the form http://host[:port][/path] or https://…, without query, fragment or credentials (got %q)" $at $v.upstream.url) }}{{ end -}}
{{- with $v.limits.concurrency }}
{{- if and (eq (.mode | default "adaptive") "fixed") (not .limit) }}{{ fail (printf "%slimits.concurrency: mode fixed needs a limit" $at) }}{{ end -}}
{{- if and .max (gt (int .min) (int .max)) }}{{ fail (printf "%slimits.concurrency: min may not exceed max" $at) }}{{ end -}}
{{- end -}}
{{- with $v.upstream.tls }}
{{- if ne (empty .client_cert_file) (empty .client_key_file) }}{{ fail (printf "%supstream.tls: client_cert_file and client_key_file go together" $at) }}{{ end -}}
{{- end -}}
{{- if ne (eq ($v.forward_proxy.mode | default "") "allow") (not (empty $v.forward_proxy.allow)) }}{{ fail (printf "%sforward_proxy: mode allow and a list in allow go together" $at) }}{{ end -}}
{{- $fleet := $v.fleet.mode | default "auto" -}}
{{- if and (eq $fleet "redis") (not $v.fleet.redis_url) }}{{ fail (printf "%sfleet: mode redis needs redis_url, such as redis://redis:6379/0" $at) }}{{ end -}}
{{- with $v.fleet.redis_url }}
{{- if not (regexMatch "^rediss?([+](sentinel|cluster))?://[^?#]+$" .) }}{{ fail (printf "%sfleet.redis_url: begins with redis://, rediss://, redis+sentinel:// or redis+cluster://, and takes no query and no fragment" $at) }}{{ end -}}
{{- if regexMatch "://[^/@]*:[^/]+@" . }}{{ fail (printf "%sfleet.redis_url: a ConfigMap would show the password; put it into a Secret, mount it by volumes and volumeMounts, and set fleet.redis_password_file" $at) }}{{ end -}}
{{- end -}}
{{- if and (eq $fleet "peers") (not $v.fleet.peers) }}{{ fail (printf "%sfleet: mode peers needs peers; leave it auto, and the chart names them" $at) }}{{ end -}}
{{- if regexMatch "^(localhost|127[.].*|\\[::1\\]):" $v.ops }}{{ fail (printf "%sops: the kubelet asks at the pod's address, not at loopback; listen at 0.0.0.0 or [::] (got %s)" $at $v.ops) }}{{ end -}}
{{- if and (eq $v.capture.mode "redirect") (not $v.runAsUser) }}{{ fail (printf "%scapture.mode redirect: runAsUser: required, for the sidecar's own calls go past the rules by it" $at) }}{{ end -}}
{{- end }}

{{- /* A value without effect, its default, the value beyond which it has none, and its default. tests/chart holds them to the product's. */}}
{{- define "sidegate.pairs" -}}
queue.max_wait 1m timeouts.total 5m
outage.max_hold 2m timeouts.total 5m
timeouts.connect 5s timeouts.total 5m
timeouts.response_head 30s timeouts.total 5m
timeouts.body_idle 30s timeouts.total 5m
retry.backoff.max 10s timeouts.total 5m
pool.idle 30s pool.max_age 10m
drain.quiet 1s drain.grace 25s
limits.concurrency.max 256 pool.max_connections 64
limits.concurrency.limit 0 pool.max_connections 64
{{- end }}

{{- /* Sentences, one a line, about values that somebody has given and that are never reached. Call with the values. */}}
{{- define "sidegate.mismatches" -}}
{{- range $line := splitList "\n" (include "sidegate.pairs" .) -}}
{{- $pair := splitList " " $line -}}
{{- $value := include "sidegate.valueAt" (dict "v" $ "path" (index $pair 0)) | default (index $pair 1) -}}
{{- $most := include "sidegate.valueAt" (dict "v" $ "path" (index $pair 2)) | default (index $pair 3) -}}
{{- $seconds := include "sidegate.amount" $value | float64 -}}
{{- if and (gt $seconds (include "sidegate.amount" $most | float64)) (ne $seconds (include "sidegate.amount" (index $pair 1) | float64)) }}
{{ printf "%s: %s is never reached, for %s is %s" (index $pair 0) $value (index $pair 2) $most }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Seconds, or a number that is none, of a value that has become text. */}}
{{- define "sidegate.amount" -}}
{{- if regexMatch "[a-z]$" . }}{{ include "sidegate.seconds" . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- /* The value at a path such as queue.max_wait, as text; nothing where there is none. */}}
{{- define "sidegate.valueAt" -}}
{{- $node := .v -}}
{{- range $key := splitList "." .path -}}
{{- if kindIs "map" $node }}{{ $node = get $node $key }}{{ else }}{{ $node = "" }}{{ end -}}
{{- end -}}
{{- if not (kindIs "invalid" $node) }}{{ $node }}{{ end -}}
{{- end }}
