{{- /*
The sidecar, for people who render it in a chart of their own. With this chart as a dependency and injector.enabled false:

  metadata:
    labels: {{ include "sidegate.podLabels" (dict "root" .Subcharts.sidegate "service" "orders") | nindent 6 }}
    annotations: {{ include "sidegate.annotations" (dict "root" .Subcharts.sidegate) | nindent 6 }}
  spec:
    initContainers:
      {{- include "sidegate.container" (dict "root" .Subcharts.sidegate "service" "orders") | nindent 6 }}
    containers:
      - name: app
        env: {{ include "sidegate.env" (dict "root" .Subcharts.sidegate) | nindent 10 }}
    volumes: {{ include "sidegate.volume" (dict "root" .Subcharts.sidegate "service" "orders") | nindent 6 }}

Every template takes a dict: root, this chart's own context; service, a key of services, where there is one;
terminationGracePeriodSeconds, where the pod sets it; job: true where the pod is one of a Job. sidegate.container belongs into
initContainers from Kubernetes 1.29 on (sidegate.isNative is "true"), before it first into containers.
tests/chart/test_library.py holds them to what the injector does.
*/}}

{{- define "sidegate.values" -}}
{{- $over := dict -}}
{{- with .service }}{{ $over = get $.root.Values.services . | default dict }}{{ end -}}
{{- mergeOverwrite (deepCopy (omit .root.Values "services" "global")) (deepCopy $over) | toYaml -}}
{{- end }}

{{- define "sidegate.isNative" -}}
{{- $mode := (include "sidegate.values" . | fromYaml).nativeSidecar -}}
{{- or (eq $mode "always") (and (eq $mode "auto") (semverCompare ">=1.29-0" .root.Capabilities.KubeVersion.Version)) -}}
{{- end }}

{{- /* Seconds of a duration such as 250ms, 30s or 1m30s; a plain number is seconds. */}}
{{- define "sidegate.seconds" -}}
{{- $sum := 0.0 -}}
{{- if kindIs "string" . -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit)) -}}
{{- end -}}
{{- else -}}
{{- $sum = float64 . -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{- /* A duration as Prometheus reads it, which knows no fractions. */}}
{{- define "sidegate.interval" -}}
{{- $ms := round (mulf (include "sidegate.seconds" . | float64) 1000) 0 | int64 -}}
{{- if mod $ms 1000 }}{{ $ms }}ms{{ else }}{{ div $ms 1000 }}s{{ end -}}
{{- end }}

{{- /* Seconds a plain container goes on before SIGTERM: half of the pod's grace period at most. */}}
{{- define "sidegate.pause" -}}
{{- $pause := include "sidegate.seconds" (include "sidegate.values" . | fromYaml).preStop | float64 -}}
{{- if hasKey . "terminationGracePeriodSeconds" }}{{ $pause = minf $pause (divf .terminationGracePeriodSeconds 2) }}{{ end -}}
{{- $pause -}}
{{- end }}

{{- /* The URL at which the pod's containers reach an address that the sidecar listens on. */}}
{{- define "sidegate.url" -}}
{{- printf "http://%s:%s" (ternary "[::1]" "127.0.0.1" (contains "[" .)) (include "sidegate.port" .) -}}
{{- end }}

{{- define "sidegate.port" -}}
{{- splitList ":" . | last -}}
{{- end }}

{{- /* Requests and limits, what is null left out. */}}
{{- define "sidegate.resources" -}}
{{- $made := dict -}}
{{- range $kind := list "requests" "limits" -}}
{{- $amounts := dict -}}
{{- range $name, $amount := get $ $kind }}{{ if $amount }}{{ $_ := set $amounts $name $amount }}{{ end }}{{ end -}}
{{- with $amounts }}{{ $_ := set $made $kind . }}{{ end -}}
{{- end -}}
{{- toYaml $made -}}
{{- end }}

{{- define "sidegate.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* What the pod's own shape asks of the sidecar's configuration: paths and texts. */}}
{{- define "sidegate.overrides" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- $native := eq (include "sidegate.isNative" .) "true" -}}
{{- $before := ternary 0.0 (include "sidegate.pause" . | float64) $native -}}
{{- $isSaid := hasKey . "terminationGracePeriodSeconds" -}}
{{- $room := subf (ternary .terminationGracePeriodSeconds 30 $isSaid | float64) $before -}}
{{- if or $isSaid (gt $before 0.0) }}{{ $room = subf $room 5.0 }}{{ end -}}
{{- $room = maxf 1.0 $room -}}
{{- $made := dict -}}
{{- if gt (include "sidegate.seconds" $v.drain.grace | float64) $room }}{{ $_ := set $made "drain.grace" (printf "%vs" $room) }}{{ end -}}
{{- if and .job (not $native) }}{{ $_ := set $made "allow_shutdown" "true" }}{{ end -}}
{{- if eq $v.capture.mode "hostAliases" -}}
{{- $url := urlParse $v.upstream.url -}}
{{- $_ := set $made "upstream.url" (printf "%s://%s" $url.scheme $url.host) -}}
{{- $_ := set $made "listen" (printf "127.0.0.1:%s" (include "sidegate.appPort" $v)) -}}
{{- $_ := set $made "upstream.dns.hosts_file" "false" -}}
{{- if and (eq ($v.upstream.host_header | default "upstream") "upstream") (not $v.downstream.hosts) -}}
{{- $_ := set $made "downstream.hosts" (include "sidegate.names" $v) -}}
{{- end -}}
{{- end -}}
{{- toYaml $made -}}
{{- end }}

{{- /* What an app may call the upstream, as a JSON list: its name, and the longer and shorter ones of a Service. Call with the values. */}}
{{- define "sidegate.names" -}}
{{- $host := (urlParse .upstream.url).hostname | lower | trimSuffix "." -}}
{{- $names := list $host -}}
{{- with regexFind "^[^.]+[.][^.]+[.]svc([.]|$)" $host -}}
{{- $name := index (splitList "." .) 0 -}}
{{- $short := printf "%s.%s" $name (index (splitList "." .) 1) -}}
{{- $names = list $host $name $short (printf "%s.svc" $short) (printf "%s.svc.cluster.local" $short) | uniq -}}
{{- end -}}
{{- toJson $names -}}
{{- end }}

{{- /* The port the app calls the upstream at, for capture.mode hostAliases. Call with the values. */}}
{{- define "sidegate.appPort" -}}
{{- $url := urlParse .upstream.url -}}
{{- $own := ternary (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) "" (eq $url.scheme "http") -}}
{{- .capture.port | int | default ($own | default 80) -}}
{{- end }}

{{- define "sidegate.file" -}}
{{- if and .service (hasKey .root.Values.services .service) }}{{ .service }}.yaml{{ else }}config.yaml{{ end -}}
{{- end }}

{{- define "sidegate.container" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- if eq $v.capture.mode "redirect" }}{{ fail "capture.mode redirect: these templates have no container for it; use the webhook or sidegate inject, or another mode" }}{{ end -}}
{{- $ops := include "sidegate.port" $v.ops -}}
{{- $native := eq (include "sidegate.isNative" .) "true" -}}
- name: sidegate
  image: {{ include "sidegate.image" (dict "Values" $v "Chart" .root.Chart) | quote }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  args: [run]
  env:
    - {name: SIDEGATE_CONFIG, value: /etc/sidegate/{{ include "sidegate.file" . }}}
    {{- range $name, $path := dict "SIDEGATE_POD" "metadata.name" "SIDEGATE_NAMESPACE" "metadata.namespace" "SIDEGATE_NODE" "spec.nodeName" }}
    - {name: {{ $name }}, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: {{ $path }}}}}
    {{- end }}
    {{- range $path, $text := include "sidegate.overrides" . | fromYaml }}
    - {name: SIDEGATE_{{ $path | upper | replace "." "__" }}, value: {{ $text | quote }}}
    {{- end }}
  ports:
    - {name: sidegate-ops, containerPort: {{ $ops }}, protocol: TCP}
  startupProbe:
    httpGet: {path: /startupz, port: sidegate-ops, scheme: HTTP}
    periodSeconds: 1
    failureThreshold: 120
  livenessProbe:
    httpGet: {path: /livez, port: sidegate-ops, scheme: HTTP}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: sidegate-ops, scheme: HTTP}
    periodSeconds: 5
    timeoutSeconds: 5
  resources:
    {{- include "sidegate.resources" $v.resources | nindent 4 }}
  securityContext:
    {{- include "sidegate.securityContext" (dict "Values" $v) | nindent 4 }}
  volumeMounts:
    - {name: sidegate-config, mountPath: /etc/sidegate, readOnly: true}
    {{- range $v.volumeMounts }}
    - {{ merge (deepCopy .) (ternary dict (dict "readOnly" true) (hasKey . "readOnly")) | toJson }}
    {{- end }}
  {{- if $native }}
  restartPolicy: Always
  {{- else }}
  lifecycle:
    postStart:
      exec:
        command: [python, -m, proxy.inject.hooks, ready, "{{ include "sidegate.url" $v.ops }}/startupz"]
    {{- $before := include "sidegate.pause" . | float64 }}
    {{- if gt $before 0.0 }}
    preStop:
      exec:
        command: [python, -m, proxy.inject.hooks, linger, "{{ $before }}s"]
    {{- end }}
  {{- end }}
{{- end }}

{{- define "sidegate.volume" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
- name: sidegate-config
  configMap: {name: {{ include "sidegate.name" .root }}}
{{- range $v.volumes }}
- {{ toJson . }}
{{- end }}
{{- end }}

{{- /* Variables of the app's containers, for capture.mode env; nothing for the others. */}}
{{- define "sidegate.env" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- if eq $v.capture.mode "env" -}}
{{- $url := include "sidegate.url" $v.listen -}}
{{- range concat (list "SIDEGATE_URL") $v.capture.baseUrlVars }}
- {name: {{ . | quote }}, value: {{ $url | quote }}}
{{- end }}
{{- if $v.capture.httpProxy }}
{{- range list "HTTP_PROXY" "http_proxy" }}
- {name: {{ . }}, value: {{ $url | quote }}}
{{- end }}
{{- range list "NO_PROXY" "no_proxy" }}
- {name: {{ . }}, value: {{ join "," $v.capture.noProxy | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The upstream's names on loopback, for capture.mode hostAliases; nothing for the others. */}}
{{- define "sidegate.hostAliases" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- if eq $v.capture.mode "hostAliases" -}}
{{- /* Without its namespace a Service's name may be that of another one here. */}}
{{- $all := include "sidegate.names" $v | fromJsonArray -}}
{{- $names := list (first $all) -}}
{{- range rest $all }}{{ if contains "." . }}{{ $names = append $names . }}{{ end }}{{ end -}}
- {ip: 127.0.0.1, hostnames: {{ toJson $names }}}
{{- end }}
{{- end }}

{{- /* Sysctls of the pod's securityContext, for capture.mode hostAliases at a port below 1024; nothing for the others. */}}
{{- define "sidegate.sysctls" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- if and (eq $v.capture.mode "hostAliases") (lt (include "sidegate.appPort" $v | int) 1024) -}}
- {name: net.ipv4.ip_unprivileged_port_start, value: "0"}
{{- end }}
{{- end }}

{{- define "sidegate.annotations" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- if $v.scrapeAnnotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ include "sidegate.port" $v.ops | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{- /* The label by which the pods of one upstream find each other; nothing where they do not. */}}
{{- define "sidegate.podLabels" -}}
{{- $v := include "sidegate.values" . | fromYaml -}}
{{- if include "sidegate.findsPods" $v -}}
sidegate.dev/fleet: {{ include "sidegate.fleetLabel" $v | quote }}
{{- end }}
{{- end }}
