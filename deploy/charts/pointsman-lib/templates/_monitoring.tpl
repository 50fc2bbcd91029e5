{{/* How Prometheus finds the picker, and the rights behind `monitoring.prometheus.auth`. */}}

{{- define "pointsman.monitoring" -}}
{{- $monitoring := .Values.router.monitoring -}}
{{- if eq (include "pointsman.metricsAuth" .) "true" }}
{{ include "pointsman.reviewRights" . }}
{{- end }}
{{- if $monitoring.prometheus.enabled -}}
{{- if $monitoring.prometheus.auth.enabled }}
{{ include "pointsman.readerToken" . }}
{{- end }}
{{- if eq ($monitoring.provider.name | default "prometheusoperator") "gmp" }}
{{ include "pointsman.podMonitoring" . }}
{{- else }}
{{ include "pointsman.serviceMonitor" . }}
{{- if ($monitoring.prometheus.modelServers | default dict).enabled }}
{{ include "pointsman.podMonitor" . }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The picker asks the API server whose a token is and what its owner may read: without these rights nobody is let in.
     Where Prometheus reads, it does so with the picker's own token, which may then read the metrics. */}}
{{- define "pointsman.reviewRights" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "pointsman.clusterName" . }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
rules:
  - apiGroups: [authentication.k8s.io]
    resources: [tokenreviews]
    verbs: [create]
  - apiGroups: [authorization.k8s.io]
    resources: [subjectaccessreviews]
    verbs: [create]
  {{- $prometheus := .Values.router.monitoring.prometheus }}
  {{- if and $prometheus.enabled $prometheus.auth.enabled }}
  - nonResourceURLs: [/metrics]
    verbs: [get]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "pointsman.clusterName" . }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "pointsman.clusterName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "pointsman.name" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "pointsman.readerToken" -}}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Values.router.monitoring.prometheus.auth.secretName }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
  annotations:
    kubernetes.io/service-account.name: {{ include "pointsman.name" . }}
type: kubernetes.io/service-account-token
{{- end -}}

{{- define "pointsman.serviceMonitor" -}}
{{- $prometheus := .Values.router.monitoring.prometheus -}}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "pointsman.name" . }}-monitor
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
    {{- with $prometheus.extraLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  jobLabel: app.kubernetes.io/name
  namespaceSelector:
    matchNames: [{{ .Release.Namespace }}]
  selector:
    matchLabels:
      app.kubernetes.io/name: {{ include "pointsman.name" . }}
      app.kubernetes.io/instance: {{ .Release.Name | quote }}
  endpoints:
    - port: http-metrics
      path: /metrics
      interval: {{ .Values.router.monitoring.interval }}
      {{- if $prometheus.auth.enabled }}
      authorization:
        type: Bearer
        credentials:
          name: {{ $prometheus.auth.secretName }}
          key: token
      {{- end }}
{{- end -}}

{{/* The engines' own metrics, of the pods that the pool selects: the dashboards set them beside the picker's. */}}
{{- define "pointsman.podMonitor" -}}
{{- $monitoring := .Values.router.monitoring -}}
{{- $servers := .Values.router.modelServers -}}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "pointsman.name" . }}-model-servers
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
    {{- with $monitoring.prometheus.extraLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  namespaceSelector:
    matchNames: [{{ .Release.Namespace }}]
  selector:
    matchLabels:
      {{- range $key, $value := $servers.matchLabels }}
      {{ $key }}: {{ $value | quote }}
      {{- end }}
  podMetricsEndpoints:
    {{- range $servers.targetPorts }}
    - targetPort: {{ .number }}
      path: {{ $monitoring.prometheus.modelServers.path | default "/metrics" }}
      interval: {{ $monitoring.interval }}
    {{- end }}
{{- end -}}

{{- define "pointsman.podMonitoring" -}}
{{- $monitoring := .Values.router.monitoring -}}
{{- $collectors := ($monitoring.provider.gmp | default dict).autopilot | ternary "gke-gmp-system" "gmp-system" -}}
---
apiVersion: monitoring.googleapis.com/v1
kind: PodMonitoring
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "pointsman.selector" . | nindent 6 }}
  endpoints:
    - port: metrics
      scheme: http
      path: /metrics
      interval: {{ $monitoring.interval }}
      {{- if $monitoring.prometheus.auth.enabled }}
      authorization:
        type: Bearer
        credentials:
          secret:
            name: {{ $monitoring.prometheus.auth.secretName }}
            key: token
      {{- end }}
{{- if $monitoring.prometheus.auth.enabled }}
---
# The managed collectors may read that one Secret.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "pointsman.name" . }}-metrics-token
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [{{ $monitoring.prometheus.auth.secretName }}]
    verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "pointsman.name" . }}-metrics-token
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "pointsman.name" . }}-metrics-token
subjects:
  - kind: ServiceAccount
    name: collector
    namespace: {{ $collectors }}
{{- end }}
{{- end -}}
