{{/* What the picker needs around it: an identity, rights, a Service, and care when nodes are emptied. */}}

{{- define "pointsman.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [pods]
    verbs: [list, watch]
  {{- if .Values.router.inferencePool.create }}
  - apiGroups: [inference.networking.k8s.io]
    resources: [inferencepools]
    verbs: [list, watch]
  - apiGroups: [llm-d.ai, inference.networking.x-k8s.io]
    resources: [inferenceobjectives, inferencemodelrewrites]
    verbs: [list, watch]
  {{- end }}
  {{- if eq (include "pointsman.leader" .) "true" }}
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [get, create, update]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "pointsman.name" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "pointsman.name" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "pointsman.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector:
    {{- include "pointsman.selector" . | nindent 4 }}
  ports:
    - name: grpc-ext-proc
      port: {{ .Values.router.epp.extProcPort }}
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    - name: http-metrics
      port: {{ .Values.router.metricsPort | default 9090 }}
      targetPort: metrics
    {{- if and .Values.router.extraServicePorts (ne (include "pointsman.proxyMode" .) "service") }}
    {{- toYaml .Values.router.extraServicePorts | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Nodes are emptied one replica at a time. Where one replica leads there is no budget: only the leader is ready, and a
     budget over one ready pod would let no node with it be emptied at all. */}}
{{- define "pointsman.disruption" -}}
{{- if and (gt (int .Values.router.epp.replicas) 1) (ne (include "pointsman.leader" .) "true") -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pointsman.selector" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "pointsman.pool" -}}
{{- $router := .Values.router -}}
{{- if $router.inferencePool.create -}}
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- range $key, $value := $router.modelServers.matchLabels }}
      {{ $key }}: {{ $value | quote }}
      {{- end }}
  targetPorts:
    {{- range $router.modelServers.targetPorts }}
    - number: {{ .number }}
    {{- end }}
  appProtocol: {{ eq $router.modelServers.protocol "grpc" | ternary "kubernetes.io/h2c" "http" }}
  endpointPickerRef:
    group: ""
    kind: Service
    name: {{ include "pointsman.name" . }}
    port:
      number: {{ $router.epp.extProcPort }}
    failureMode: {{ eq $router.inferencePool.failureMode "FailOpen" | ternary "FailOpen" "FailClose" }}
{{- range $router.inferenceObjectives }}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata:
  name: {{ .name }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "pointsman.labels" $ | nindent 4 }}
spec:
  priority: {{ .priority }}
  poolRef:
    group: inference.networking.k8s.io
    kind: InferencePool
    name: {{ $.Release.Name }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* What a schema cannot say, in sentences. */}}
{{- define "pointsman.refusals" -}}
{{- $router := .Values.router -}}
{{- if not $router.modelServers.matchLabels -}}
{{- fail "router.modelServers.matchLabels is missing: the labels of the model servers' pods, e.g. --set router.modelServers.matchLabels.app=my-model-server" -}}
{{- end -}}
{{- if and $router.inferenceObjectives (not $router.inferencePool.create) -}}
{{- fail "router.inferenceObjectives belong to an InferencePool: set router.inferencePool.create=true, or leave them out" -}}
{{- end -}}
{{- if $router.latencyPredictor.enabled -}}
{{- fail "router.latencyPredictor.enabled: predicted latency is not supported yet; leave it off, and weigh load and prefix (the default), or choose router.epp.pluginsCustomConfig" -}}
{{- end -}}
{{- if and $router.tokenizer.enabled (not $router.tokenizer.modelName) -}}
{{- fail "router.tokenizer.modelName is missing: the model whose tokenizer the sidecar loads" -}}
{{- end -}}
{{- $files := concat (list "default-plugins.yaml" "payload-agnostic.yaml") (keys $router.epp.pluginsCustomConfig) -}}
{{- if not (has $router.epp.pluginsConfigFile $files) -}}
{{- fail (printf "router.epp.pluginsConfigFile is %q, which is not there; there are %s (more come by router.epp.pluginsCustomConfig)" $router.epp.pluginsConfigFile (join ", " (sortAlpha $files))) -}}
{{- end -}}
{{- range $name, $_ := $router.epp.pluginsCustomConfig -}}
{{- if has $name (list "default-plugins.yaml" "payload-agnostic.yaml") -}}
{{- fail (printf "router.epp.pluginsCustomConfig has a file %q, which is one of the chart's own: choose another name and set router.epp.pluginsConfigFile to it" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
