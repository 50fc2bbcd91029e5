{{/* The ConfigMap with the scheduling configurations. */}}

{{/* The parsers, as a JSON list: an engine's own protocol wins over what is asked for. */}}
{{- define "pointsman.parsers" -}}
{{- $servers := .Values.router.modelServers -}}
{{- $epp := .Values.router.epp -}}
{{- $asked := $epp.parsers | default list -}}
{{- with $epp.parser }}{{ $asked = append $asked . }}{{ end -}}
{{- if and (eq $servers.type "vllm") (eq $servers.protocol "grpc") -}}{{ list "vllmgrpc-parser" | toJson }}
{{- else if $asked -}}{{ $asked | uniq | toJson }}
{{- else if eq $servers.type "triton" -}}{{ list "passthrough-parser" | toJson }}
{{- else -}}[]
{{- end -}}
{{- end -}}

{{- define "pointsman.configMap" -}}
{{- $router := .Values.router -}}
{{- $source := $router.epp.metricsDataSource -}}
{{- $parsers := include "pointsman.parsers" . | fromJsonArray -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
data:
  # Queue, cache and prefix of the endpoints, weighed against each other.
  default-plugins.yaml: |
    apiVersion: llm-d.ai/v1alpha1
    kind: EndpointPickerConfig
    plugins:
    - type: queue-scorer
    - type: kv-cache-utilization-scorer
    - type: prefix-cache-scorer
    - type: metrics-data-source
      parameters:
        scheme: {{ $source.scheme | quote }}
        path: {{ $source.path | quote }}
        insecureSkipVerify: {{ $source.insecureSkipVerify }}
    - type: core-metrics-extractor
    {{- if ne $router.modelServers.type "vllm" }}
      parameters:
        defaultEngine: {{ $router.modelServers.type }}
    {{- end }}
    {{- range $parsers }}
    - type: {{ . }}
    {{- end }}
    {{- with $parsers }}
    requestHandler:
      parsers:
      {{- range . }}
      - pluginRef: {{ . }}
      {{- end }}
    {{- end }}
    schedulingProfiles:
    - name: default
      plugins:
      - pluginRef: queue-scorer
        weight: 2
      - pluginRef: kv-cache-utilization-scorer
        weight: 2
      - pluginRef: prefix-cache-scorer
        weight: 3
  # For requests of an unknown form: by load and session alone, without looking into the body.
  payload-agnostic.yaml: |
    apiVersion: llm-d.ai/v1alpha1
    kind: EndpointPickerConfig
    plugins:
    - type: passthrough-parser
    - type: active-request-scorer
    - type: session-affinity-scorer
    requestHandler:
      parsers:
      - pluginRef: passthrough-parser
    schedulingProfiles:
    - name: default
      plugins:
      - pluginRef: active-request-scorer
        weight: 1
      - pluginRef: session-affinity-scorer
        weight: 1
  {{- range $name, $text := $router.epp.pluginsCustomConfig }}
  {{ $name | quote }}: {{ $text | quote }}
  {{- end }}
{{- end -}}
