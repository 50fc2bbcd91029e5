{{/* The picker's command line. Each flag stands there once: the user's win over the chart's. */}}

{{/* A value as the command line wants it; large numbers come out of YAML as 1e+07. */}}
{{- define "pointsman.flagValue" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%d" (int64 .) }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* "true" where the picker speaks TLS. */}}
{{- define "pointsman.secure" -}}
{{- $given := index (.Values.router.epp.flags | default dict) "secure-serving" -}}
{{- if and (not (kindIs "invalid" $given)) (eq (toString $given) "false") -}}false{{- else -}}true{{- end -}}
{{- end -}}

{{/* "true" where one of several replicas is chosen to serve. */}}
{{- define "pointsman.leader" -}}
{{- $given := index (.Values.router.epp.flags | default dict) "ha-enable-leader-election" -}}
{{- if kindIs "invalid" $given -}}{{ gt (int .Values.router.epp.replicas) 1 }}{{- else -}}{{ eq (toString $given) "true" }}{{- end -}}
{{- end -}}

{{/* "true" where the API server is asked who may read the metrics. */}}
{{- define "pointsman.metricsAuth" -}}
{{- $given := index (.Values.router.epp.flags | default dict) "metrics-endpoint-auth" -}}
{{- if kindIs "invalid" $given -}}{{ .Values.router.monitoring.prometheus.auth.enabled }}{{- else -}}{{ eq (toString $given) "true" }}{{- end -}}
{{- end -}}

{{- define "pointsman.targetPorts" -}}
{{- $ports := list -}}
{{- range .Values.router.modelServers.targetPorts }}{{ $ports = append $ports (toString .number) }}{{ end -}}
{{- join "," $ports -}}
{{- end -}}

{{- define "pointsman.args" -}}
{{- $router := .Values.router -}}
{{- $flags := dict "zap-encoder" "json" "config-file" (printf "/config/%s" $router.epp.pluginsConfigFile) -}}
{{- if $router.inferencePool.create -}}
  {{- $_ := set $flags "pool-name" .Release.Name -}}
  {{- $_ := set $flags "pool-namespace" .Release.Namespace -}}
  {{- $_ := set $flags "pool-group" "inference.networking.k8s.io" -}}
{{- else -}}
  {{- $labels := list -}}
  {{- range $key, $value := $router.modelServers.matchLabels }}{{ $labels = append $labels (printf "%s=%s" $key (toString $value)) }}{{ end -}}
  {{- $_ := set $flags "endpoint-selector" (join "," $labels) -}}
  {{- $_ := set $flags "endpoint-target-ports" (include "pointsman.targetPorts" .) -}}
{{- end -}}
{{- $_ := set $flags "grpc-port" $router.epp.extProcPort -}}
{{- $_ := set $flags "grpc-health-port" $router.epp.grpcHealthPort -}}
{{- $_ := set $flags "tracing" $router.tracing.enabled -}}
{{- $_ := set $flags "metrics-endpoint-auth" (include "pointsman.metricsAuth" .) -}}
{{- /* Envoy beside it asks on the port that it uses. */ -}}
{{- if eq (include "pointsman.proxyMode" .) "sidecar" }}{{ $_ := set $flags "health-checking" true }}{{ end -}}
{{- if eq (include "pointsman.leader" .) "true" }}{{ $_ := set $flags "ha-enable-leader-election" true }}{{ end -}}
{{- $flags = mergeOverwrite $flags (deepCopy ($router.epp.flags | default dict)) -}}
{{- range $name, $value := $flags }}
- {{ printf "--%s=%s" $name (include "pointsman.flagValue" $value) | quote }}
{{- end }}
{{- end -}}

{{/* A port that `flags` may name too. */}}
{{- define "pointsman.grpcPort" -}}
{{- include "pointsman.flagValue" (index (.Values.router.epp.flags | default dict) "grpc-port" | default .Values.router.epp.extProcPort) -}}
{{- end -}}
{{- define "pointsman.healthPort" -}}
{{- include "pointsman.flagValue" (index (.Values.router.epp.flags | default dict) "grpc-health-port" | default .Values.router.epp.grpcHealthPort) -}}
{{- end -}}
{{- define "pointsman.metricsPort" -}}
{{- include "pointsman.flagValue" (index (.Values.router.epp.flags | default dict) "metrics-port" | default 9090) -}}
{{- end -}}
