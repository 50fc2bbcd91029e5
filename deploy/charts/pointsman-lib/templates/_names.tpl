{{/* Names and labels. The names and the selectors are those of the llm-d-router charts, so that an installed release can
     be upgraded in place. */}}

{{- define "pointsman.base" -}}
{{- .Release.Name | lower | trim | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Of the picker: its Deployment, Service, ConfigMap, ServiceAccount. */}}
{{- define "pointsman.name" -}}
{{- include "pointsman.base" . }}-epp
{{- end -}}

{{/* Of the proxy, where it is a Deployment of its own. */}}
{{- define "pointsman.proxyName" -}}
{{- include "pointsman.base" . }}-proxy
{{- end -}}

{{/* Of objects that have no namespace. */}}
{{- define "pointsman.clusterName" -}}
{{- printf "%s-%s-epp" (include "pointsman.base" .) (.Release.Namespace | trunc 40) -}}
{{- end -}}

{{- define "pointsman.mode" -}}
{{- if .Values.router.inferencePool.create -}}llm-d-router-gateway{{- else -}}llm-d-router-standalone{{- end -}}
{{- end -}}

{{- define "pointsman.selector" -}}
{{ include "pointsman.mode" . }}: {{ include "pointsman.name" . }}
{{- end -}}

{{- define "pointsman.proxySelector" -}}
llm-d-router-proxy: {{ include "pointsman.proxyName" . }}
{{- end -}}

{{- define "pointsman.labels" -}}
app.kubernetes.io/name: {{ include "pointsman.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: pointsman
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* `registry/repository:tag`, without an empty registry. */}}
{{- define "pointsman.image" -}}
{{- $image := .image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ $image.tag | default .version }}
{{- end -}}
